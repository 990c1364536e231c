"""The loop of every off-policy method: act, remember, update; the reward may be improved on the way."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from baselines._sac import SAC, Replay, Reward, SACConfig
from envs.checkpoint import Checkpoint
from envs.metered import MeteredEnv
from envs.problem import Floats, Problem
from methods.base import Config, RewardPart

Improve = Callable[[Replay, float], dict[str, float]]
Progress = Callable[[float, dict[str, float]], None]
THE_EXTRA: Reward = lambda obs, acts, next_obs, extra: extra  # noqa: E731
silent: Progress = lambda fraction, values: None  # noqa: E731
ROWS = 20  # of the curve


class OffPolicyConfig(Config):
    """Settings of the learner and of its loop."""

    discount: float | None = None  # of the learner; None: the task's
    envs: int = 16
    steps_per_update: float = 12.0  # environment steps, over all copies, per update of the learner
    warm_up: int = 2_000  # environment steps of uniform actions
    lr: float = 6e-4
    batch: int = 128
    entropy_weight: float | None = 0.05  # None: adapted
    target_rate: float = 0.01
    policy_hidden: tuple[int, int] = (64, 64)
    average: float = 0.01  # rate of the moving average of actors that is the policy; 0: the last actor

    def learner(self, discount: float) -> SACConfig:
        """The learner's own part; ``discount`` is the task's."""
        shared = {name: getattr(self, name) for name in ("lr", "batch", "entropy_weight", "target_rate", "average")}
        return SACConfig(hidden=self.policy_hidden, discount=self.discount or discount, **shared)


# of the learner by task, by hand with DAC and SQIL on tuning seed 1000, by score from seen starts: wide enough, and
# with no more updates at the task's own step budget than a few CPU minutes hold
BY_HAND: dict[str, dict[str, Any]] = {
    "maze2d-large": {"policy_hidden": (128, 128), "steps_per_update": 12, "discount": 0.98},
    "halfcheetah": {
        "envs": 4,
        "policy_hidden": (128, 128),
        "steps_per_update": 3,
        "lr": 1e-3,
        "entropy_weight": 0.02,
    },
}

SMOKE: dict[str, Any] = {"warm_up": 1_000, "batch": 32, "policy_hidden": (32, 32)}

# values that tuning studies try; the number of updates stays, so that trials cost the same
SEARCH: dict[str, list[Any]] = {
    "lr": [3e-4, 6e-4, 1e-3],
    "entropy_weight": [0.01, 0.02, 0.05, 0.1],
    "target_rate": [0.005, 0.01, 0.02],
    "discount": [0.97, 0.98, 0.99, 0.995],
}


def moments(problem: Problem) -> tuple[Floats, Floats]:
    """Mean and standard deviation ``[O]`` of all observations given: what networks read is standardised by them."""
    seen = np.concatenate([x.obs.reshape(-1, x.obs.shape[-1]) for x in (problem.demos, problem.base)])
    return seen.mean(0), seen.std(0) + 1e-3


def transitions(problem: Problem) -> tuple[torch.Tensor, ...]:
    """The demonstrations' steps as tensors: ``obs [n, O], acts [n, A], next_obs [n, O]``."""
    return tuple(torch.tensor(x) for x in problem.demos.transitions())


class WithDemonstrations(Replay):
    """A replay of which every batch is half demonstrations, marked by an extra number of 1.

    Args:
        problem: its demonstrations.
        capacity: of the policy's own transitions.
    """

    def __init__(self, problem: Problem, capacity: int) -> None:
        self._demos = transitions(problem)
        super().__init__(capacity, self._demos[0].shape[1], self._demos[1].shape[1])

    def sample(self, n: int, generator: torch.Generator, latest: int | None = None) -> tuple[torch.Tensor, ...]:
        """As :meth:`Replay.sample`; the demonstrations come first."""
        chosen = torch.randint(len(self._demos[0]), (n // 2,), generator=generator)
        demos = [*(x[chosen] for x in self._demos), torch.ones(n // 2)]
        own = super().sample(n - n // 2, generator, latest)
        return tuple(torch.cat(pair) for pair in zip(demos, own, strict=True))


def train(
    sac: SAC,
    env: MeteredEnv,
    config: OffPolicyConfig,
    steps: int,
    rng: np.random.Generator,
    reward: Reward,
    improve: Improve | None = None,
    replay: Replay | None = None,
    note: Callable[[Floats, Floats, Floats], Floats] | None = None,
    progress: Progress = silent,
    checkpoint: Checkpoint | None = None,
    parts: Mapping[str, Any] | None = None,
    name: str = "online",
) -> list[dict[str, float]]:
    """Trains a soft actor-critic in an environment on a reward that may change.

    Args:
        sac: trained in place.
        env: where it acts.
        config: settings of the loop.
        steps: environment steps, over all copies; a rest below one step of every copy is left.
        rng: source of the first, uniform actions.
        reward: of replayed transitions, asked anew for each batch.
        improve: called before every update with the replay and the share of the steps taken, to improve the reward;
            returns numbers for the curve.
        replay: where transitions go; one that holds all of them if it is not given.
        note: ``(obs [n, O], acts [n, A], next_obs [n, O]) -> [n]``, the extra number of new transitions; None for 0.
        progress: gets the share done and the curve's latest row.
        checkpoint: keeps the run, so that it can go on after a kill; None keeps nothing.
        parts: what else changes on the way, as for :meth:`envs.checkpoint.Checkpoint.loop`.
        name: of the loop, where a run has several.

    Returns:
        curve rows, :data:`ROWS` at most.
    """
    width, (acts_width,) = len(sac.mean), env.action_space.shape
    low, high = env.action_space.low, env.action_space.high
    total = steps // env.n * env.n
    replay = replay or Replay(total, width, acts_width)
    curve: list[dict[str, float]] = []
    marks = {round(k * total / ROWS / env.n) * env.n for k in range(1, ROWS + 1)}
    now: dict[str, Any] = {"obs": np.zeros((env.n, width), np.float32), "over": True, "told": {}}
    kept = {"now": now, "sac": sac, "env": env, "replay": replay, "curve": curve, "rng": rng, **(parts or {})}
    checkpoint = checkpoint or Checkpoint()
    for count in checkpoint.loop(name, total // env.n, **kept):
        taken = (count + 1) * env.n
        obs = env.reset() if now["over"] else now["obs"]
        warm = taken > config.warm_up
        acts = sac.act(obs) if warm else rng.uniform(low, high, (env.n, acts_width)).astype(np.float32)
        next_obs, now["over"] = env.step(acts)
        replay.add(obs, acts, next_obs, None if note is None else note(obs, acts, next_obs))
        now["obs"] = next_obs
        while sac.updates * config.steps_per_update < taken - config.warm_up:
            if improve is not None:
                now["told"] = improve(replay, taken / total)
            sac.update(replay, reward)
        if taken in marks and sac.updates:
            curve.append({"env_steps": taken, "gradient_steps": sac.updates, **now["told"]})
            progress(taken / total, curve[-1])
            checkpoint.show(taken / total, sac.policy)
    return curve


def on_tensors(reward: RewardPart) -> Reward:
    """A reward part as what the learner asks: the transition's extra number is not read."""
    return lambda obs, acts, next_obs, extra: reward(obs, acts, next_obs)


def optimise(
    env: MeteredEnv,
    reward: RewardPart,
    normalisation: tuple[ArrayLike, ArrayLike],
    discount: float,
    config: OffPolicyConfig,
    steps: int,
    rng: np.random.Generator,
    progress: Progress = silent,
    checkpoint: Checkpoint | None = None,
    name: str = "online",
) -> tuple[SAC, list[dict[str, float]]]:
    """A fresh soft actor-critic on a given reward, which is asked once for each step taken.

    Args:
        env: where it acts; its meter counts.
        reward: of steps, fixed.
        normalisation: mean and standard deviation ``[O]`` of observations.
        discount: in (0, 1).
        config: settings.
        steps: environment steps.
        rng: source of all randomness.
        progress, checkpoint, name: as for :func:`train`.

    Returns:
        the learner, whose :meth:`~baselines._sac.SAC.policy` is the result, and the curve.
    """

    @torch.no_grad()
    def gained(*step: Floats) -> Floats:
        return np.asarray(reward(*map(torch.from_numpy, step)).numpy(), np.float32)

    sac = SAC(env.action_space, *normalisation, config.learner(discount), rng)
    following = progress, checkpoint, None, name
    return sac, train(sac, env, config, steps, rng, THE_EXTRA, None, None, gained, *following)
