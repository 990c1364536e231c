"""HalfCheetah as in Gymnasium's ``HalfCheetah-v4``, batched, with fixed-length episodes; its policies and data."""

import copy
import hashlib
import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from envs.datasets import cached, record
from envs.physics import BatchEnv, States
from envs.problem import Dataset, Dynamics, Floats, Policy, Task
from envs.rollout import Uniform
from envs.seeding import seed_of, stream

FRAME_SKIP, HORIZON, CONTROL_COST, RESET_NOISE = 5, 1000, 0.1, 0.1
ACTION_SECONDS = 0.05  # FRAME_SKIP physics steps of 0.01 s
THROWN_SHARE = 0.25  # of training starts; Gymnasium itself only starts upright
POSITIONS = 9
GEAR_CHANGE, FRICTION_CHANGE = 0.7, 0.5  # factors of the changed dynamics
POLICIES = Path(__file__).parent / "policies"
BLENDS = {"medium-expert": 0.7, "near-expert": 0.85}  # the expert's part of the action, the rest is medium's
NOISES = (0.0, 0.1, 0.2, 0.3)  # of the actions
# task: (in the data's id, policies that act at each noise, shares of random actions, episodes of each share).
# The default holds nothing better than medium; full replay gives each level up to near the expert a fifth.
BASES = {
    "halfcheetah": ("medium", ("medium-low", "medium"), 1, 27),
    "halfcheetah-full-replay": ("full", ("medium-low", "medium", "medium-expert", "near-expert"), 4, 12),
}


@cache
def model() -> mujoco.MjModel:
    """Gymnasium's own model file."""
    folder = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
    found = mujoco.MjModel.from_xml_path(str(folder / "half_cheetah.xml"))
    found.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND  # one body is one island: same bits, 5 % faster
    return found


def observe(states: States) -> NDArray[np.float64]:
    """All but the root's x position, ``[n, 18]`` to ``[n, 17]``."""
    return states[:, 1:]


def reward(states: States, acts: NDArray[np.floating], next_states: States) -> NDArray[np.float64]:
    """Forward velocity minus control cost, on arrays of any leading shape (Gymnasium's ``HalfCheetahEnv.step``).

    Args:
        states, next_states: float64 ``[.., S]``, positions (metres, radians) and their velocities, x first.
        acts: ``[.., A]``, torques as shares of the motors' limits, in [-1, 1].

    Returns:
        float64 ``[..]``: metres per second, less the cost.
    """
    forward = (next_states[..., 0] - states[..., 0]) / ACTION_SECONDS
    return np.asarray(forward - CONTROL_COST * np.square(acts).sum(-1))


def observed_reward(obs, acts, next_obs):  # type: ignore[no-untyped-def]  # torch tensors; torch is not imported here
    """The nearest to :func:`reward` that observations hold: they lack x, so the mean of both velocities stands in."""
    return (obs[..., 8] + next_obs[..., 8]) / 2 - CONTROL_COST * (acts**2).sum(-1)


def upright(n: int, rng: np.random.Generator) -> States:
    """Gymnasium's starts: upright with noise."""
    places = model().qpos0 + rng.uniform(-RESET_NOISE, RESET_NOISE, (n, POSITIONS))
    return np.concatenate([places, RESET_NOISE * rng.standard_normal((n, POSITIONS))], 1)


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
        path: safetensors with ``mean``, ``std`` and ``net.<i>.weight``, ``net.<i>.bias`` for each layer, beside a JSON
            file of the same name with their ``sha256``.

    Raises:
        ValueError: the weights are not those that were written with it.
    """

    def __init__(self, path: Path) -> None:
        content, described = path.read_bytes(), json.loads(path.with_suffix(".json").read_text())
        if hashlib.sha256(content).hexdigest() != described["sha256"]:
            raise ValueError(
                f"{path} was changed after it was written: restore it, or train it: "
                f"python -m benchmark data train {path.stem}"
            )
        stored = {name: array.astype(np.float32) for name, array in load(content).items()}
        self._mean, self._std = stored["mean"], stored["std"]
        places = sorted({int(name.split(".")[1]) for name in stored if name.startswith("net.")})
        self._layers = [(stored[f"net.{i}.weight"].T, stored[f"net.{i}.bias"]) for i in places]

    def begin(self, n: int) -> None:
        """Nothing is kept between steps."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        x = ((obs - self._mean) / self._std).clip(-10, 10)
        for weight, bias in self._layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self._layers[-1]
        return np.asarray(np.tanh(x @ weight + bias))


class Noisy(Policy):
    """A weighted mean of policies that keep no state, with Gaussian noise on the actions.

    Args:
        parts: policies and their weights.
        noise: standard deviation; 0 for none.
    """

    def __init__(self, parts: Sequence[tuple[Policy, float]], noise: float) -> None:
        self._parts, self._noise = parts, noise

    def begin(self, n: int) -> None:
        """Nothing is kept between steps."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        acts = np.asarray(sum(np.float32(weight) * policy(obs, rng) for policy, weight in self._parts))
        return acts + self._noise * rng.standard_normal(acts.shape, dtype=np.float32) if self._noise else acts


def stored(name: str) -> Path:
    """Where the policy ``name`` lies."""
    return POLICIES / f"halfcheetah-{name}.safetensors"


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


def policy(name: str, noise: float = 0.0) -> Policy:
    """``random``, ``medium-low``, ``medium``, ``medium-expert``, ``near-expert`` or ``expert``, with action noise."""
    if name == "random":
        return Uniform(make_env(1).action_space)
    share = BLENDS.get(name)
    if share is None:
        return Noisy([(StoredPolicy(stored(name)), 1)], noise)
    return Noisy([(policy("medium"), 1 - share), (policy("expert"), share)], noise)


def expert() -> Policy:
    """The policy that demonstrations come from."""
    return policy("expert")


def _fingerprint(*names: str) -> str:
    """8 hex digits of what the named policies are made of: data recorded with others get another id."""
    made = [
        str(BLENDS[name]).encode() + stored("medium").read_bytes() + stored("expert").read_bytes()
        if name in BLENDS
        else stored(name).read_bytes()
        for name in names
    ]
    return hashlib.sha256(b"".join(made)).hexdigest()[:8]


def base(seed: int, task: str = "halfcheetah") -> Dataset:
    """Arbitrary behaviour from :func:`anywhere`: the members of :data:`BASES`, an equal share of the episodes each."""
    label, names, randoms, each = BASES[task]
    members = [(name, noise) for name in names for noise in NOISES]
    episodes = each * (randoms + len(members))

    def crowd() -> Policy:
        return Crowd([policy("random")] * randoms + [policy(*member) for member in members])

    build = partial(record, make_env, crowd, anywhere, reward, episodes, seed_of("base", task, seed))
    return cached(f"halfcheetah-base-{label}-{_fingerprint(*names)}-{episodes}-seed{seed}", build)


def demos(n: int, seed: int) -> Dataset:
    """Episodes of :func:`expert` from :func:`upright`."""
    build = partial(record, make_env, expert, upright, reward, n, seed_of("demos", "halfcheetah", seed))
    return cached(f"halfcheetah-demos{n}-{_fingerprint('expert')}-seed{seed}", build)


def _task(name: str, title: str, kin: str, replay: str) -> Task:
    return Task(
        name=name,
        title=title,
        make_env=make_env,
        reward=reward,
        observed_reward=observed_reward,
        horizon=HORIZON,
        discount=0.99,
        seen_starts=upright(16, stream("starts", "halfcheetah", "seen")),
        unseen_starts=thrown(16, stream("starts", "halfcheetah", "unseen")),
        base=partial(base, task=name),
        demos=demos,
        expert=expert,
        default_demos=50,
        step_budget=200_000,
        source=f"Gymnasium 0.29 HalfCheetah-v4 (Towers et al. 2024); base data after D4RL's {replay} (Fu et al. 2020)",
        states_of=states_of,
        uniform_states=uniform_states,
        changed=Dynamics(
            f"motors of {GEAR_CHANGE:.0%} strength, {FRICTION_CHANGE:.0%} friction",
            partial(make_env, changed=True),
            upright(16, stream("starts", "halfcheetah", "changed")),
        ),
        kin=kin,
    )


TASK = _task("halfcheetah", "HalfCheetah", "", "medium-replay")
FULL_REPLAY = _task("halfcheetah-full-replay", "HalfCheetah, full replay", "halfcheetah", "full-replay")
