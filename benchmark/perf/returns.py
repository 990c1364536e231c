"""CPU seconds until a return on HalfCheetah: our soft actor-critic beside Stable-Baselines3's, with equal settings."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC as TheirSAC
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from baselines._online import moments, optimise, silent
from benchmark.perf import Row, cost
from benchmark.pose import pose
from benchmark.references import true_returns
from benchmark.reoptimise import AGENT, Standardised
from envs.checkpoint import Checkpoint
from envs.halfcheetah import TASK
from envs.problem import Floats, Policy
from envs.rollout import rollout
from envs.vecenv import MeteredVecEnv
from methods.base import RewardPart
from methods.controls import GivenReward

RETURN = 2000.0  # the demonstrator's is 10,610
SEED = 1000
OURS, THEIRS = 40_000, 100_000  # environment steps: enough for both


class Rewarded(VecEnvWrapper):
    """Gives each step of an SB3 environment the reward of a part."""

    def __init__(self, venv: VecEnv, reward: RewardPart) -> None:
        super().__init__(venv)
        self._reward = reward

    def reset(self) -> Floats:
        self._obs = self.venv.reset()
        return self._obs  # type: ignore[return-value]

    def step_async(self, actions: Floats) -> None:
        self._acts = actions
        self.venv.step_async(actions)

    @torch.no_grad()
    def step_wait(self):  # type: ignore[no-untyped-def]
        obs, _, over, infos = self.venv.step_wait()
        after = np.stack([info.get("terminal_observation", x) for info, x in zip(infos, obs, strict=True)])
        gained = self._reward(*map(torch.as_tensor, (self._obs, self._acts, after))).numpy()
        self._obs = obs
        return obs, gained, over, infos


class TheirPolicy:
    """An SB3 policy as one of ours: its mean action."""

    def __init__(self, policy: BasePolicy) -> None:
        self._policy = policy

    def begin(self, n: int) -> None:
        pass

    def __call__(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return self._policy.predict(obs, deterministic=True)[0].astype(np.float32)


def earned(policy: Policy) -> float:
    """Mean true return of eight episodes."""
    starts = TASK.seen_starts[:8]
    return float(true_returns(TASK, rollout(TASK.make_env(8), policy, starts, np.random.default_rng(0))).mean())


def until(shown: Sequence[tuple[float, int, Policy]]) -> float:
    """CPU seconds at which policies first earned :data:`RETURN`, in a line between them; the last one's if none did."""
    best = np.maximum.accumulate([earned(policy) for _, _, policy in shown])
    return float(np.interp(RETURN, best, [seconds for seconds, _, _ in shown]))


def measure() -> Iterator[Row]:
    """Our learner as it scores rewards, and theirs with as many copies, steps an update, and settings.

    What ours has beside these stays: its critics, bfloat16, an actor at every other update, and the average of actors.
    """
    posed = pose(TASK, SEED, 10, OURS + THEIRS, 0, False, silent).problem
    reward, rng = Standardised(GivenReward(TASK.observed_reward), posed.base), np.random.default_rng(SEED)
    ours = Checkpoint()
    optimise(posed.make_env(AGENT.envs, rng), reward, moments(posed), posed.discount, AGENT, OURS, rng, silent, ours)

    learner = TheirSAC(
        "MlpPolicy",
        Rewarded(MeteredVecEnv(posed.make_env(AGENT.envs, rng)), reward),
        policy_kwargs={"net_arch": [*AGENT.policy_hidden]},
        learning_rate=AGENT.lr,
        batch_size=AGENT.batch,
        tau=AGENT.target_rate,
        gamma=posed.discount,
        ent_coef=AGENT.entropy_weight or "auto",
        gradient_steps=round(AGENT.envs / AGENT.steps_per_update),
        learning_starts=AGENT.warm_up,
        seed=SEED,
        device="cpu",
    )
    theirs = Checkpoint()

    def look(here: dict[str, Any], globals: dict[str, Any]) -> bool:
        theirs.show(learner.num_timesteps / THEIRS, partial(TheirPolicy, learner.policy))
        return True

    learner.learn(THEIRS, look)
    name, against = f"SAC until a return of {RETURN:,.0f} on HalfCheetah", "Stable-Baselines3 SAC, equal settings"
    yield cost(name, until(ours.shown), "CPU s", until(theirs.shown), against, required=3.0)
