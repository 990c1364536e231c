"""HalfCheetah as in Gymnasium's ``HalfCheetah-v4``, batched, with fixed-length episodes."""

from functools import cache
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.physics import BatchEnv, States

FRAME_SKIP, HORIZON, CONTROL_COST, RESET_NOISE = 5, 1000, 0.1, 0.1
ACTION_SECONDS = 0.05  # FRAME_SKIP physics steps of 0.01 s
THROWN_SHARE = 0.25  # of training starts; Gymnasium itself only starts upright
POSITIONS = 9


@cache
def model() -> mujoco.MjModel:
    """Gymnasium's own model file."""
    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    return mujoco.MjModel.from_xml_path(str(folder / "half_cheetah.xml"))


def observe(states: States) -> NDArray[np.float64]:
    """All but the root's x position, ``[n, 18]`` to ``[n, 17]``."""
    return states[:, 1:]


def reward(states: States, acts: NDArray[np.floating], next_states: States) -> NDArray[np.float64]:
    """Forward velocity minus control cost, on arrays of any leading shape (Gymnasium's ``HalfCheetahEnv.step``)."""
    forward = (next_states[..., 0] - states[..., 0]) / ACTION_SECONDS
    return forward - CONTROL_COST * np.square(acts).sum(-1)


def observed_reward(obs, acts, next_obs):  # type: ignore[no-untyped-def]  # torch tensors; torch is not imported here
    """The nearest to :func:`reward` that observations hold: they lack x, so the mean of both velocities stands in."""
    return (obs[..., 8] + next_obs[..., 8]) / 2 - CONTROL_COST * (acts**2).sum(-1)


def upright(n: int, rng: np.random.Generator) -> States:
    """Gymnasium's starts: upright with noise."""
    return np.concatenate(
        [
            model().qpos0 + rng.uniform(-RESET_NOISE, RESET_NOISE, (n, POSITIONS)),
            RESET_NOISE * rng.standard_normal((n, POSITIONS)),
        ],
        1,
    )


def thrown(n: int, rng: np.random.Generator) -> States:
    """Starts no demonstration visits: dropped 0.3 m, pitched 0.5 to 1.2 rad either way, joints anywhere in range."""
    states = upright(n, rng)
    states[:, 1] += 0.3
    states[:, 2] = rng.choice([-1, 1], n) * rng.uniform(0.5, 1.2, n)
    joints = model().jnt_range[3:]
    states[:, 3:POSITIONS] = rng.uniform(joints[:, 0], joints[:, 1], (n, POSITIONS - 3))
    return states


def anywhere(n: int, rng: np.random.Generator) -> States:
    """Training starts: mostly upright, :data:`THROWN_SHARE` thrown."""
    return np.where(rng.random((n, 1)) < THROWN_SHARE, thrown(n, rng), upright(n, rng))


def make_env(n: int) -> BatchEnv:
    """``n`` cheetahs."""
    return BatchEnv(model(), n, HORIZON, FRAME_SKIP, observe, anywhere)
