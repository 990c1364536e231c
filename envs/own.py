"""Tasks of the user's own: a YAML file that names a Gymnasium environment and demonstrations in any format we read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml
from gymnasium.spaces import Box
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from envs.datasets import cached, record
from envs.formats import NO_END, FormatError, check_against, load
from envs.physics import BatchEnv, States, checked
from envs.problem import Dataset, Floats, Policy, Task
from envs.rollout import Uniform
from envs.seeding import seed_of, stream

SUFFIXES = (".yaml", ".yml")
RANDOM_EPISODES = 100  # of random actions, where no base data are named
PROBES, STARTS = 3, 16
REMEDY = "set `absorbing: true`: the episode then stays where it ended, without reward, up to the horizon"


class TaskError(ValueError):
    """A description that makes no task: which file, why, and what to do."""


class Ended(RuntimeError):
    """An episode ended before its fixed length."""


class Description(BaseModel):
    """What the YAML file holds. Paths are relative to it.

    Args:
        name: lower-case words joined by hyphens.
        title: for tables and figures; the name if empty.
        environment: Gymnasium id, ``module:Id-v0`` where a module must be imported first.
        kwargs: for ``gymnasium.make``.
        demonstrations: npz, D4RL HDF5 or Minari data set, true rewards included.
        base: arbitrary behaviour, likewise; :data:`RANDOM_EPISODES` of random actions if None.
        horizon: steps of an episode; the environment's own limit if None.
        absorbing: whether episodes that end stay where they ended, without reward, up to the horizon.
        demos: demonstrations that methods get where a suite names no number; all if None.
        discount, step_budget, source: of the task.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = ""
    environment: str
    kwargs: dict[str, Any] = {}
    demonstrations: Path
    base: Path | None = None
    horizon: int | None = Field(None, ge=1)
    absorbing: bool = False
    demos: int | None = Field(None, ge=1)
    discount: float = Field(0.99, gt=0, lt=1)
    step_budget: int = Field(100_000, ge=1)
    source: str = "the user's own"


@dataclass(frozen=True, eq=False)
class RecordedTask(Task):
    """A task of which demonstrations are recorded: there are no more, and the demonstrator itself cannot be asked.

    Args:
        recorded: how many; their mean return is the 100 of scores.
        fingerprint: hash of the description and of all data that it names.
        data: file, key and shape of the demonstrations, for messages.
    """

    recorded: int = 0
    fingerprint: str = ""
    data: str = ""


NO_DEMONSTRATOR = "of this task only demonstrations are recorded: the demonstrator cannot be run"


class Unknown(Policy):
    """Stands where a demonstrator would, and cannot be asked."""

    def begin(self, n: int) -> None:
        """Refuses.

        Raises:
            ValueError: always, as does a call.
        """
        raise ValueError(NO_DEMONSTRATOR)

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        raise ValueError(NO_DEMONSTRATOR)


class GymBatch(BatchEnv):
    """``n`` copies of a Gymnasium environment with episodes of one length, stepped one after the other.

    States are float64 ``[n, 2 + O]``: seed of the episode, steps taken, observation. They hold no reward, and such an
    environment can be set to the start of an episode alone: :meth:`reset_to` reads the seed.

    Args:
        described, horizon: what to make.
        n: number of copies.
    """

    def __init__(self, described: Description, horizon: int, n: int) -> None:
        self._envs = [_make(described, horizon) for _ in range(n)]
        self.n, self.horizon, self.frame_skip = n, horizon, 1
        observations, actions = self._envs[0].observation_space, self._envs[0].action_space
        assert isinstance(observations, Box) and isinstance(actions, Box)
        self.observation_space, self.action_space, self._dtype = observations, actions, actions.dtype
        self._now = np.zeros((n, 2 + observations.shape[0]))

    @property
    def states(self) -> States:
        """float64 ``[n, 2 + O]``: a copy of the present states."""
        return self._now.copy()

    def observe(self, states: States) -> Floats:
        """Observations float32 ``[n, O]`` of states."""
        return states[:, 2:].astype(np.float32)

    def starts(self, n: int, rng: np.random.Generator) -> States:
        """``n`` starts at seeds from ``rng``; their observations are filled in by :meth:`reset_to`."""
        seeds = rng.integers(2**31, size=(n, 1)).astype(np.float64)
        return np.concatenate([seeds, np.zeros((n, self._now.shape[1] - 1))], 1)

    def reset(self, rng: np.random.Generator) -> Floats:
        """Starts all episodes at fresh seeds."""
        return self.reset_to(self.starts(self.n, rng))

    def reset_to(self, states: States) -> Floats:
        """Starts all episodes at the seeds of ``states``; returns observations ``[n, O]``.

        Raises:
            ValueError: wrong shape, or the middle of an episode.
        """
        states = np.array(states, np.float64)
        if states.shape != self._now.shape:
            raise ValueError(f"states {list(states.shape)} must be of shape {list(self._now.shape)}")
        if states[:, 1].any():
            raise ValueError(
                "this environment cannot be set to the middle of an episode, so a run of it that was killed does not "
                "go on from there: add --retry failed to run it anew"
            )
        for env, state in zip(self._envs, states, strict=True):
            state[2:] = env.reset(seed=int(state[0]))[0]
        self._now = states
        return self.observe(self._now)

    def step(self, acts: NDArray[np.floating]) -> Floats:
        """Advances every copy by one action, clipped into the action space.

        Raises:
            Ended: an episode ended.
            ValueError: actions of wrong shape, or not finite.
        """
        self._advance(acts)
        return self.observe(self._now)

    def _advance(self, acts: NDArray[np.floating]) -> NDArray[np.float64]:
        """The step itself; the rewards ``[n]`` that it paid go to :func:`_replay` alone."""
        space = self.action_space
        acts = np.asarray(acts, self._dtype)
        checked("actions", acts, (self.n, *space.shape))
        rewards = np.zeros(self.n)
        for i, (env, act) in enumerate(zip(self._envs, np.clip(acts, space.low, space.high), strict=True)):
            self._now[i, 2:], rewards[i], terminated, truncated, _ = env.step(act)
            self._now[i, 1] += 1
            if terminated or (truncated and self._now[i, 1] < self.horizon):
                raise Ended(
                    f"an episode ended at step {self._now[i, 1]:.0f} of {self.horizon}, which a task's episodes must "
                    f"not: {NO_END}"
                )
        return rewards


def _replay(
    described: Description, horizon: int, states: States, acts: NDArray[np.floating], next_states: States
) -> NDArray[np.float64]:
    """True rewards ``[.., T]`` of episodes from their starts on, by playing their actions again from their seeds."""
    if states.ndim < 2 or states[..., 0, 1].any() or (np.diff(states[..., 1], axis=-1) != 1).any():
        raise ValueError("the true reward of this task is known along episodes from their starts alone")
    env, found = GymBatch(described, horizon, 1), np.zeros(acts.shape[:-1])
    for index in np.ndindex(*acts.shape[:-2]):
        env.reset_to(states[index][:1])
        for t, act in enumerate(acts[index]):
            found[(*index, t)] = env._advance(act[None])[0]
            if not np.allclose(env.observe(env.states), env.observe(next_states[index][t : t + 1]), 1e-4, 1e-5):
                raise ValueError(
                    f"{described.environment} went another way when seed and actions were the same: its randomness "
                    f"must come from its seed alone"
                )
    return found


def _make(described: Description, horizon: int | None) -> gymnasium.Env[Any, Any]:
    env = gymnasium.make(described.environment, max_episode_steps=horizon, disable_env_checker=True, **described.kwargs)
    if described.absorbing:
        from seals.util import AbsorbAfterDoneWrapper

        env = AbsorbAfterDoneWrapper(env)
    return env


def line_of(text: str, keys: Sequence[Any], needed: int = 1) -> int | None:
    """The line, from 1, to which nested keys lead in YAML ``text``, one written with dots (``planning.scale``) too.

    The first ``needed`` keys must be there, else None; of the others, as far as they lead: pydantic adds some.
    """
    node, line = yaml.compose(text, yaml.SafeLoader), None
    for k, key in enumerate(keys):
        inner = node.value if isinstance(node, yaml.MappingNode) else []
        named = [pair for pair in inner if pair[0].value in (str(key), ".".join(map(str, keys[k:])))]
        if not named:
            return line if k >= needed else None
        line, node = named[-1][0].start_mark.line + 1, named[-1][1]
    return line


def describe(path: Path) -> Description:
    """Reads the YAML file at ``path``.

    Raises:
        TaskError: it cannot be read, or a key is missing, unknown or has a value of a wrong type.
    """
    try:
        return Description(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        place, keys = ".".join(map(str, first["loc"])), ", ".join(Description.model_fields)
        line = line_of(path.read_text(encoding="utf-8"), first["loc"])
        raise TaskError(
            f"task {path}{f', line {line}' if line else ''}: {place}: {first['msg']}. Keys: {keys}"
        ) from error
    except (OSError, ValueError, yaml.YAMLError, TypeError) as error:
        raise TaskError(f"task {path} cannot be read as keys and values: {error}") from error


def _fingerprint(path: Path, *data: Path | None) -> str:
    """16 hex digits of all that a task's results depend on beside code."""
    digest = hashlib.sha256(path.read_bytes())
    for top in data:
        if top is not None:
            for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
                digest.update(str(file.relative_to(top)).encode() + (file.read_bytes() if file.is_file() else b""))
    return digest.hexdigest()[:16]


def load_task(path: str | Path) -> RecordedTask:
    """The task that the YAML file at ``path`` describes.

    Raises:
        TaskError: the file, its environment or its data cannot be used.
    """
    path = Path(path)
    described = describe(path)
    try:
        return _task(described, path)
    except (gymnasium.error.Error, ImportError, FormatError, TypeError) as error:
        raise TaskError(f"task {path}: {error}") from error


def _task(d: Description, path: Path) -> RecordedTask:
    plain, demonstrations = _make(d, d.horizon), path.parent / d.demonstrations
    for kind, space in (("observation", plain.observation_space), ("action", plain.action_space)):
        if not isinstance(space, Box) or len(space.shape) != 1 or (kind == "action" and not space.is_bounded()):
            raise FormatError(
                f"{d.environment}: its {kind} space is {space}; needed is a Box of one axis, for actions with limits: "
                f"register it in Gymnasium wrappers (FlattenObservation, RescaleAction) and name that id"
            )
    limit = d.horizon or (plain.spec.max_episode_steps if plain.spec else None)
    if limit is None:
        raise FormatError(f"{d.environment} has no time limit: give `horizon`, the steps of an episode")
    recorded = load(demonstrations, limit, d.absorbing)
    horizon = recorded.trajectories.steps  # the limit, or a step less of D4RL's files: scores compare equal lengths
    env, one = partial(GymBatch, d, horizon), GymBatch(d, horizon, 1)
    for seed in range(PROBES):
        rng, policy = np.random.default_rng(seed), Uniform(one.action_space)
        obs = one.reset(rng)
        try:
            for _ in range(horizon):
                obs = one.step(policy(obs, rng))
        except Ended as error:
            raise FormatError(f"{d.environment}, random actions: {error}. Here: {REMEDY}") from error

    def base(seed: int) -> Dataset:
        if d.base is not None:
            return load(path.parent / d.base, limit, d.absorbing)
        made_by = hashlib.sha256(repr((d.environment, sorted(d.kwargs.items()), horizon, d.absorbing)).encode())
        policy, drawn = partial(Uniform, one.action_space), seed_of("base", d.name, seed)
        build = partial(record, env, policy, one.starts, reward, RANDOM_EPISODES, drawn)
        return cached(f"{d.name}-base-random-{made_by.hexdigest()[:8]}-{RANDOM_EPISODES}-seed{seed}", build)

    def demos(n: int, seed: int) -> Dataset:  # as many as there are, if more are asked for
        return recorded[np.sort(stream("demos", d.name, seed).permutation(len(recorded))[:n])]

    def observed_reward(*observed: Any) -> Any:
        raise ValueError("the true reward of this task is known along its environment's episodes alone")

    reward = partial(_replay, d, horizon)
    task = RecordedTask(
        name=d.name,
        title=d.title or d.name,
        make_env=env,
        reward=reward,
        observed_reward=observed_reward,
        horizon=horizon,
        discount=d.discount,
        seen_starts=one.starts(STARTS, stream("starts", d.name, "seen")),
        unseen_starts=one.starts(STARTS, stream("starts", d.name, "unseen")),
        base=base,
        demos=demos,
        expert=Unknown,
        default_demos=min(d.demos or len(recorded), len(recorded)),
        step_budget=d.step_budget,
        source=d.source,
        recorded=len(recorded),
        fingerprint=_fingerprint(path, demonstrations, d.base and path.parent / d.base),
        data=f"{demonstrations}: actions {list(recorded.trajectories.acts.shape)}",
    )
    for data in (recorded, *([base(0)] if d.base is not None else [])):
        check_against(data, task)
    return task
