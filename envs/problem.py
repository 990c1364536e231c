"""The core types: what a task is, and what of it a method may see."""

import hashlib
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.checkpoint import Checkpoint
from envs.metered import Meter, MeteredEnv
from envs.physics import BatchEnv

Floats = NDArray[np.float32]


class Policy(Protocol):
    """Maps observations to actions; one that keeps state is told where an episode starts."""

    def begin(self, n: int) -> None:
        """A new batch of ``n`` episodes starts."""

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        """float32 ``[n, O]`` to float32 ``[n, A]``."""


def _frozen(name: str, value: Any, shape: str, ndim: int) -> Floats:
    array = np.array(value, dtype=np.float32)
    if array.ndim != ndim:
        raise ValueError(f"{name} has shape {list(array.shape)}; it must be {shape}")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        raise ValueError(f"{name} is not finite at index {bad}; remove or repair that episode")
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Episodes of one fixed length, without rewards: a demonstration cannot leak what it has no field for.

    Args:
        obs: float32 ``[N, T+1, O]``, observations, the last one included.
        acts: float32 ``[N, T, A]``, actions taken between them.

    Raises:
        ValueError: wrong number of axes, lengths that do not match, no episode, or a value that is not finite.
    """

    obs: Floats
    acts: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "obs", _frozen("obs", self.obs, "[N, T+1, O]", 3))
        object.__setattr__(self, "acts", _frozen("acts", self.acts, "[N, T, A]", 3))
        n, steps = self.acts.shape[:2]
        if n == 0 or steps == 0:
            raise ValueError(f"acts has shape {list(self.acts.shape)}; at least one episode of one step is needed")
        if self.obs.shape[:2] != (n, steps + 1):
            raise ValueError(
                f"obs {list(self.obs.shape)} does not fit acts {list(self.acts.shape)}: "
                f"it must be [{n}, {steps + 1}, O], one observation more than actions"
            )

    def __len__(self) -> int:
        return len(self.acts)

    @property
    def steps(self) -> int:
        """Actions per episode, T."""
        return int(self.acts.shape[1])

    def transitions(self) -> tuple[Floats, Floats, Floats]:
        """All steps as ``obs [N*T, O], acts [N*T, A], next_obs [N*T, O]``, episode by episode."""
        obs, acts, next_obs = (x.reshape(-1, x.shape[-1]) for x in (self.obs[:, :-1], self.acts, self.obs[:, 1:]))
        return obs, acts, next_obs

    def windows(self, length: int) -> "Trajectories":
        """Cuts every episode into pieces of ``length`` steps, in 1..T, that do not overlap; a shorter rest is left out.

        Raises:
            ValueError: ``length`` outside 1..T.
        """
        if not 1 <= length <= self.steps:
            raise ValueError(f"window length {length}: it must be 1..{self.steps}, the episode's steps")
        starts = range(0, self.steps - length + 1, length)
        return Trajectories(
            np.concatenate([self.obs[:, s : s + length + 1] for s in starts]),
            np.concatenate([self.acts[:, s : s + length] for s in starts]),
        )

    def __getitem__(self, index: Any) -> "Trajectories":
        return Trajectories(self.obs[index], self.acts[index])

    def content_hash(self) -> str:
        """16 hex digits over shapes and values."""
        digest = hashlib.sha256(repr((self.obs.shape, self.acts.shape)).encode())
        digest.update(self.obs.tobytes())
        digest.update(self.acts.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Episodes with their true rewards. Stays with the harness; methods get :attr:`trajectories`.

    Args:
        trajectories: the episodes.
        rewards: float32 ``[N, T]``, the true reward of each step.
        id: names the recipe and its arguments, or the content of an imported file.
    """

    trajectories: Trajectories
    rewards: Floats
    id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", _frozen("rewards", self.rewards, "[N, T]", 2))
        if self.rewards.shape != self.trajectories.acts.shape[:2]:
            raise ValueError(
                f"rewards {list(self.rewards.shape)} do not fit acts {list(self.trajectories.acts.shape)}: "
                f"one reward per action is needed"
            )

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def returns(self) -> Floats:
        """float32 ``[N]``: undiscounted true return of each episode."""
        return np.asarray(self.rewards.sum(1))

    def __getitem__(self, index: Any) -> "Dataset":
        return Dataset(self.trajectories[index], self.rewards[index], self.id)


@dataclass(frozen=True)
class Dynamics:
    """A task's environment with other physics or starts; the reward stays.

    Args:
        text: what was changed.
        make_env: ``n -> BatchEnv``.
        starts: float64 ``[K, S]``, evaluation starts.
    """

    text: str
    make_env: Callable[[int], BatchEnv]
    starts: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Task:
    """One benchmark task, true reward included. The harness reads it; a method never does.

    States are float64 ``[.., S]`` = (qpos, qvel): what the simulator can be set to. Observations are what the
    policy sees of them.

    Args:
        name: e.g. ``maze2d-umaze``.
        title: for tables and figures.
        make_env: ``n -> BatchEnv``, n copies stepped together, no reward inside.
        reward: true reward r(states ``[.., S]``, acts ``[.., A]``, next_states ``[.., S]``) ``-> [..]``.
        observed_reward: the same on torch observations, differentiable (exact where the observation holds all that
            the reward reads, else its closest form); for the oracle controls alone.
        horizon: steps of an episode; episodes never end early.
        discount: in (0, 1).
        seen_starts: float64 ``[K, S]``, evaluation starts where demonstrations begin.
        unseen_starts: float64 ``[K, S]``, evaluation starts in regions no demonstration visits.
        base: ``seed -> Dataset`` of arbitrary behaviour.
        demos: ``(n, seed) -> Dataset`` of the expert, from seen starts only.
        expert: ``() -> Policy`` that the demonstrations come from.
        default_demos: number of demonstrations where a suite names none.
        step_budget: environment steps a method may take where a suite names no other number.
        source: where the definition comes from.
        states_of: observations ``[n, O]`` to states ``[n, S]`` that look like them; None where there is no way back.
        uniform_states: ``(n, rng) -> states [n, S]``, uniform over what states may be.
        changed: other dynamics, in which a learnt reward should still be worth optimising.
        picture: what figures of this task show, plain data: mazes ``{"walls": [rows, cols] bool, ...}``.
        kin: the task that this one is a variant of: settings tuned for it, and what is trained on equal base data,
            hold here too. Empty if it is none.
    """

    name: str
    title: str
    make_env: Callable[[int], BatchEnv]
    reward: Callable[[Any, Any, Any], Any]
    observed_reward: Callable[[Any, Any, Any], Any]
    horizon: int
    discount: float
    seen_starts: NDArray[np.float64]
    unseen_starts: NDArray[np.float64]
    base: Callable[[int], Dataset]
    demos: Callable[[int, int], Dataset]
    expert: Callable[[], Policy]
    default_demos: int
    step_budget: int
    source: str
    picture: dict[str, Any] = field(default_factory=dict)
    states_of: Callable[[Floats], NDArray[np.float64]] | None = None
    uniform_states: Callable[[int, np.random.Generator], NDArray[np.float64]] | None = None
    changed: Dynamics | None = None
    kin: str = ""

    @property
    def family(self) -> str:
        """The name that settings are tuned for: that of its kin, or its own."""
        return self.kin or self.name


@dataclass(frozen=True, eq=False)
class Privileged:
    """What only controls may have. Tables mark every method that takes it.

    Args:
        observed_reward: the task's true reward on observations (:class:`Task`).
        expert: the demonstrator.
    """

    observed_reward: Callable[[Any, Any, Any], Any]
    expert: Policy


@dataclass(frozen=True, eq=False)
class Problem:
    """All that a method sees of a task.

    Args:
        task: the name of the task's family, for choosing tuned settings and for messages.
        demos: demonstrations.
        base: arbitrary trajectories of the same environment.
        base_id: identifies ``base``: equal ids, equal trajectories. The key of models trained on it.
        observation_space, action_space: Box spaces of one environment.
        horizon: steps of an episode.
        discount: in (0, 1).
        meter: counts environment steps against the budget.
        base_env: ``n -> BatchEnv``; not kept in the open, for its steps do not count: use :meth:`make_env`.
        device: torch device name.
        progress: called now and then with (fraction done in [0, 1], {name: value}).
        privileged: None for every method that is not a control.
        checkpoint: its ``loop`` counts like ``range`` and goes on where a killed run was.
    """

    task: str
    demos: Trajectories
    base: Trajectories
    base_id: str
    observation_space: Box
    action_space: Box
    horizon: int
    discount: float
    meter: Meter
    base_env: InitVar[Callable[[int], BatchEnv]]
    device: str = "cpu"
    progress: Callable[[float, dict[str, float]], None] = lambda fraction, values: None
    privileged: Privileged | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    _base_env: Callable[[int], BatchEnv] = field(init=False, repr=False)

    def __post_init__(self, base_env: Callable[[int], BatchEnv]) -> None:
        object.__setattr__(self, "_base_env", base_env)

    @property
    def step_budget(self) -> int:
        """Environment steps this run may take in all."""
        return self.meter.budget

    def make_env(self, n: int, rng: np.random.Generator) -> MeteredEnv:
        """``n`` copies of the environment: no reward, and every step counts against :attr:`step_budget`.

        Args:
            n: number of copies, >= 1.
            rng: source of the start states.
        """
        return MeteredEnv(self._base_env(n), self.meter, rng)
