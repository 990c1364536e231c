"""Soft Q imitation learning: reinforcement learning on a reward of 1 for demonstrations, 0 for the policy's steps."""

import numpy as np

from baselines._online import BY_HAND, SEARCH, SMOKE, THE_EXTRA, OffPolicyConfig, WithDemonstrations, moments, train
from baselines._sac import SAC
from envs.problem import Problem
from methods.base import Learned, Method
from methods.tuned import tuned


def fit(problem: Problem, config: OffPolicyConfig, rng: np.random.Generator) -> Learned:
    """Half of every batch are demonstrations, whose mark is their reward (Reddy et al., algorithm 1, eq. 1)."""
    env = problem.make_env(config.envs, rng)
    sac = SAC(env.action_space, *moments(problem), config.learner(problem.discount), rng)
    replay = WithDemonstrations(problem, problem.step_budget)
    following = problem.progress, problem.checkpoint
    curve = train(sac, env, config, problem.step_budget, rng, THE_EXTRA, None, replay, None, *following)
    return Learned(sac.policy(), None, "none", curve, sac.updates)


METHOD = Method(
    name="sqil",
    title="SQIL",
    source="Reddy et al. 2020, SQIL: Imitation Learning via RL with Sparse Rewards, arXiv 1905.11108",
    fit=fit,
    config=OffPolicyConfig,
    tuned=tuned("sqil", BY_HAND),
    search=SEARCH,
    smoke=SMOKE,
    recovers_reward=False,  # 1 on demonstrations tells nothing of any other step
)
