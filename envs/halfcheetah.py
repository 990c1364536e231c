"""HalfCheetah as in Gymnasium's ``HalfCheetah-v4``, batched, with fixed-length episodes; its policies and data."""

import copy
import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from envs.datasets import cached, record
from envs.physics import BatchEnv, States
from envs.problem import Dataset, Dynamics, Floats, Policy, Task
from envs.seeding import seed_of, stream

FRAME_SKIP, HORIZON, CONTROL_COST, RESET_NOISE = 5, 1000, 0.1, 0.1
ACTION_SECONDS = 0.05  # FRAME_SKIP physics steps of 0.01 s
THROWN_SHARE = 0.25  # of training starts; Gymnasium itself only starts upright
POSITIONS = 9
GEAR_CHANGE, FRICTION_CHANGE = 0.7, 0.5  # factors of the changed dynamics
POLICIES = Path(__file__).parent / "policies"
BASE_POLICIES, BASE_NOISES = ("medium-low", "medium"), (0.0, 0.1, 0.2, 0.3)
BASE_EPISODES = 27  # of each policy at each noise, and as many of uniformly random actions


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
    return np.asarray(forward - CONTROL_COST * np.square(acts).sum(-1))


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


@cache
def changed_model() -> mujoco.MjModel:
    """Another body on another ground: weaker motors, less friction."""
    other = copy.copy(model())
    other.actuator_gear[:, 0] *= GEAR_CHANGE
    other.geom_friction[:, 0] *= FRICTION_CHANGE
    return other


def make_env(n: int, changed: bool = False) -> BatchEnv:
    """``n`` cheetahs."""
    return BatchEnv(changed_model() if changed else model(), n, HORIZON, FRAME_SKIP, observe, anywhere)


def states_of(obs: Floats) -> States:
    """States with the root at x = 0, on which nothing but itself depends."""
    return np.concatenate([np.zeros((len(obs), 1)), obs], 1, dtype=np.float64)


def uniform_states(n: int, rng: np.random.Generator) -> States:
    """States uniform in a box around all that base data and expert visit, lifted out of the ground."""
    joints = model().jnt_range[3:]
    low = [0, -0.6, -np.pi, *joints[:, 0], -3, -3, -7, *[-25] * 6]
    high = [0, 0.4, np.pi, *joints[:, 1], 13, 3, 7, *[25] * 6]
    states = rng.uniform(low, high, (n, len(low)))
    data = mujoco.MjData(model())
    for state in states:
        data.qpos[:] = state[:POSITIONS]
        mujoco.mj_fwdPosition(model(), data)
        state[1] -= min([0.0, *data.contact.dist])
    return states


class StoredPolicy(Policy):
    """A trained policy of :data:`POLICIES`: a ReLU perceptron with a tanh at its end, evaluated in NumPy.

    Args:
        path: safetensors with ``mean``, ``std`` and ``net.<i>.weight``, ``net.<i>.bias`` for each layer.
        noise: standard deviation of Gaussian noise on the actions.
    """

    def __init__(self, path: Path, noise: float = 0.0) -> None:
        stored = {name: array.astype(np.float32) for name, array in load_file(path).items()}
        self._mean, self._std, self._noise = stored["mean"], stored["std"], noise
        places = sorted({int(name.split(".")[1]) for name in stored if name.startswith("net.")})
        self._layers = [(stored[f"net.{i}.weight"].T, stored[f"net.{i}.bias"]) for i in places]

    def begin(self, n: int) -> None:
        """Nothing is kept between steps."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        x = ((obs - self._mean) / self._std).clip(-10, 10)
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self._layers[-1]
        acts = np.tanh(x @ weight + bias)
        if self._noise:
            acts = acts + self._noise * rng.standard_normal(acts.shape, dtype=np.float32)
        return np.asarray(acts)


def stored(name: str) -> Path:
    """Where the policy ``name`` lies."""
    return POLICIES / f"halfcheetah-{name}.safetensors"


class UniformPolicy(Policy):
    """Actions uniform in the action space."""

    def begin(self, n: int) -> None:
        """Nothing is kept between steps."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return rng.uniform(-1, 1, (len(obs), model().nu)).astype(np.float32)


class Crowd(Policy):
    """Several policies side by side: each acts for an equal share of the episodes, in order."""

    def __init__(self, members: Sequence[Policy]) -> None:
        self._members = members

    def begin(self, n: int) -> None:
        for member, part in zip(self._members, np.array_split(np.arange(n), len(self._members)), strict=True):
            member.begin(len(part))

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        parts = np.array_split(obs, len(self._members))
        return np.concatenate([member(part, rng) for member, part in zip(self._members, parts, strict=True)])


def base_policy() -> Policy:
    """Arbitrary behaviour, nothing better than medium: random, and two half-trained policies with action noise."""
    trained = [StoredPolicy(stored(name), noise) for name in BASE_POLICIES for noise in BASE_NOISES]
    return Crowd([UniformPolicy(), *trained])


def expert() -> Policy:
    """The policy that demonstrations come from."""
    return StoredPolicy(stored("expert"))


def _fingerprint(*names: str) -> str:
    """8 hex digits of the named policies' files: data recorded with other weights gets another id."""
    return hashlib.sha256(b"".join(stored(name).read_bytes() for name in names)).hexdigest()[:8]


def base(seed: int) -> Dataset:
    """Episodes of :func:`base_policy` from :func:`anywhere`."""
    episodes = BASE_EPISODES * (1 + len(BASE_POLICIES) * len(BASE_NOISES))
    build = partial(record, make_env, base_policy, anywhere, reward, episodes, seed_of("base", "halfcheetah", seed))
    return cached(f"halfcheetah-base-medium-{_fingerprint(*BASE_POLICIES)}-{episodes}-seed{seed}", build)


def demos(n: int, seed: int) -> Dataset:
    """Episodes of :func:`expert` from :func:`upright`."""
    build = partial(record, make_env, expert, upright, reward, n, seed_of("demos", "halfcheetah", seed))
    return cached(f"halfcheetah-demos{n}-{_fingerprint('expert')}-seed{seed}", build)


TASK = Task(
    name="halfcheetah",
    title="HalfCheetah",
    make_env=make_env,
    reward=reward,
    observed_reward=observed_reward,
    horizon=HORIZON,
    discount=0.99,
    seen_starts=upright(16, stream("starts", "halfcheetah", "seen")),
    unseen_starts=thrown(16, stream("starts", "halfcheetah", "unseen")),
    base=base,
    demos=demos,
    expert=expert,
    default_demos=10,
    step_budget=200_000,
    source="Gymnasium 0.29 HalfCheetah-v4 (Towers et al. 2024); base data after D4RL's medium-replay (Fu et al. 2020)",
    states_of=states_of,
    uniform_states=uniform_states,
    changed=Dynamics(
        f"motors of {GEAR_CHANGE:.0%} strength, {FRICTION_CHANGE:.0%} friction",
        partial(make_env, changed=True),
        upright(16, stream("starts", "halfcheetah", "changed")),
    ),
)
