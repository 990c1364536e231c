"""A method to start from: a reward that tells demonstrations from base data, and a policy cloned from demonstrations.

``python -m benchmark new-method NAME`` copies this file to ``baselines/NAME.py``. Replace what :func:`fit` does; keep
what it returns. Then ``make test-one M=NAME``, and ``make bench M=NAME``.
"""

import numpy as np
import torch
from torch.nn.functional import softplus

from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.policies import MLPPolicy
from methods.rewards import StepReward


class Settings(Config):
    """The only home of defaults; ``--set NAME.updates=50`` and ``tuned`` below change them."""

    updates: int = 1000
    batch: int = 256
    lr: float = 1e-3


def draw(data: list[torch.Tensor], n: int) -> list[torch.Tensor]:
    """``n`` transitions: observations ``[n, O]``, actions ``[n, A]``, next observations ``[n, O]``."""
    rows = torch.randint(len(data[0]), (n,))
    return [x[rows] for x in data]


def fit(problem: Problem, config: Settings, rng: np.random.Generator) -> Learned:
    """Learns from ``problem``: ``demos`` and ``base`` (observations and actions, no rewards), and ``make_env(n, rng)``,
    an environment without reward whose steps count against ``step_budget``; this one takes none."""
    torch.manual_seed(int(rng.integers(2**31)))  # all randomness comes from rng, so that a seed repeats the run
    space = problem.action_space
    demos, base = ([torch.tensor(x) for x in data.transitions()] for data in (problem.demos, problem.base))
    reward = StepReward(obs=demos[0].shape[-1], acts=demos[1].shape[-1])
    policy = MLPPolicy(obs=demos[0].shape[-1], low=space.low.tolist(), high=space.high.tolist())
    for part in (reward, policy):
        part.mean.copy_(base[0].mean(0))
        part.std.copy_(base[0].std(0) + 1e-3)
    optimiser = torch.optim.Adam([*reward.parameters(), *policy.parameters()], config.lr)
    curve = []
    for update in range(1, config.updates + 1):
        (obs, acts, next_obs), others = (draw(data, config.batch) for data in (demos, base))
        classifier = (softplus(-reward(obs, acts, next_obs)) + softplus(reward(*others))).mean()
        cloning = (policy.actions(obs) - acts).square().mean()
        optimiser.zero_grad()
        (classifier + cloning).backward()
        optimiser.step()
        if update % 50 == 0:  # shown while it runs, kept as its learning curve
            curve.append({"gradient_steps": update, "classifier": classifier.item(), "cloning": cloning.item()})
            problem.progress(update / config.updates, curve[-1])
    return Learned(policy.eval(), reward.eval(), "raw", curve, config.updates)


METHOD = Method(
    name="mine",
    title="Mine",
    source="cite the paper and the equation it implements",
    fit=fit,
    config=Settings,
    tuned={},  # task to settings that differ there
    smoke={"updates": 10, "batch": 32},  # for tests and suite `smoke`: seconds
    recovers_reward=True,
)
