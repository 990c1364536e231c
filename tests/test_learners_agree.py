"""Minutes each: our learners against the libraries', on one task, over the same seeds."""

import numpy as np
import pytest
import torch
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util.networks import RunningNorm
from scipy.stats import t as student
from stable_baselines3 import PPO
from stable_baselines3 import SAC as TheirSAC

from baselines import airl, gail
from baselines._imitation import Batches, Silent
from baselines._online import OffPolicyConfig, moments, optimise
from benchmark.perf.returns import Rewarded, TheirPolicy
from benchmark.pose import pose
from benchmark.references import true_returns
from envs.maze2d import UMAZE_TASK as TASK
from envs.problem import Policy, Problem
from envs.rollout import rollout
from envs.vecenv import MeteredVecEnv
from methods.base import RewardPart

pytestmark = pytest.mark.slow
SEEDS = range(1000, 1003)  # tuning seeds


def problem(seed: int, budget: int) -> Problem:
    return pose(TASK, seed, 10, budget, 0, False, lambda fraction, values: None).problem


def score(policy: Policy) -> float:
    run = rollout(TASK.make_env(len(TASK.seen_starts)), policy, TASK.seen_starts, np.random.default_rng(0))
    return float(true_returns(TASK, run).mean())


def interval(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """95 % interval of the mean difference of ours to theirs over seeds."""
    apart = np.array([ours - theirs for ours, theirs in pairs])
    half = student.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / len(apart) ** 0.5
    return float(apart.mean() - half), float(apart.mean() + half)


# of imitation's example scripts, but for steps and environments, which are this task's
PER_ROUND, ENVS, BUDGET = 2048, 8, 16 * 2048
STOCK = {
    "learning_rate": 4e-4,
    "batch": 64,
    "epochs": 5,
    "discount": 0.95,
    "entropy": 0.0,
    "log_std": 0.0,
    "average": 0.0,
}
OURS = {"envs": ENVS, "steps": PER_ROUND // ENVS, "reward_hidden": (32, 32), "disc_updates": 8, "disc_batch": 1024}


def scripts_own(seed: int, trainer_class: type, net_class: type) -> float:
    """The library's own way: its networks with its normalisation, its training loop."""
    posed, rng = problem(seed, BUDGET), np.random.default_rng(seed)
    torch.manual_seed(seed)
    venv = MeteredVecEnv(posed.make_env(ENVS, rng))
    learner = PPO(
        "MlpPolicy",
        venv,
        n_steps=PER_ROUND // ENVS,
        batch_size=64,
        n_epochs=5,
        learning_rate=4e-4,
        gamma=0.95,
        seed=seed,
    )
    trainer = trainer_class(
        demonstrations=Batches(posed.demos, 1024, rng),
        demo_batch_size=1024,
        venv=venv,
        gen_algo=learner,
        reward_net=net_class(venv.observation_space, venv.action_space, normalize_input_layer=RunningNorm),
        n_disc_updates_per_round=8,
        gen_replay_buffer_capacity=5 * PER_ROUND,
        custom_logger=Silent(),
    )
    trainer.train(BUDGET)
    return score(TheirPolicy(learner.policy))


@pytest.mark.parametrize(
    ("method", "trainer_class", "net_class", "own"),
    [
        (gail.METHOD, GAIL, BasicRewardNet, {}),
        (airl.METHOD, AIRL, BasicShapedRewardNet, {"state_only": False}),
    ],
    ids=["gail", "airl"],
)
def test_stock_settings_reproduce_imitations_script(method, trainer_class, net_class, own) -> None:  # type: ignore[no-untyped-def]
    pairs = []
    for seed in SEEDS:
        learned = method.fit(problem(seed, BUDGET), method.config(**STOCK, **OURS, **own), np.random.default_rng(seed))
        pairs.append((score(learned.policy), scripts_own(seed, trainer_class, net_class)))
    low, high = interval(pairs)
    assert low <= 0 <= high, pairs


class Distance(RewardPart):
    """The task's own dense reward."""

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = TASK.observed_reward(obs, acts, next_obs)
        return value


def test_our_soft_actor_critic_returns_what_stable_baselines3s_does() -> None:
    steps, pairs = 16_000, []
    config = OffPolicyConfig(steps_per_update=8, entropy_weight=None, lr=3e-4, batch=256)
    for seed in SEEDS:
        posed = problem(seed, 2 * steps)
        rng = np.random.default_rng(seed)
        sac, _ = optimise(posed.make_env(16, rng), Distance(), moments(posed), posed.discount, config, steps, rng)
        theirs = TheirSAC(
            "MlpPolicy",
            Rewarded(MeteredVecEnv(posed.make_env(16, rng)), Distance()),
            policy_kwargs={"net_arch": [64, 64]},
            train_freq=1,
            gradient_steps=2,
            learning_starts=config.warm_up,
            seed=seed,
        )
        theirs.learn(steps)
        pairs.append((score(sac.policy()), score(TheirPolicy(theirs.policy))))
    assert interval(pairs)[1] >= 0, pairs  # not worse
