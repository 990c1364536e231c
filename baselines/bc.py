"""Behavioural cloning: imitation 1.0.1's ``BC`` on a Stable-Baselines3 policy.

No equation is cited: the loss is imitation's, the mean negative log-likelihood of the demonstrated actions, with its
small bonus on entropy, plus ``l2``.
"""

import math
import warnings
from typing import Any

import numpy as np
import torch
from imitation.algorithms.bc import BC
from stable_baselines3.common.policies import ActorCriticPolicy

from baselines._imitation import Batches, Silent, exported, moments, policy_kwargs
from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.tuned import tuned


class BCConfig(Config):
    """Settings of BC.

    Args:
        hidden: hidden layers of the policy.
        learning_rate: Adam's, falling to 0 along half a cosine.
        l2: weight of half the squared norm of the parameters.
        batch: transitions per update.
        updates: parameter updates.
    """

    hidden: tuple[int, ...] = (128, 128)
    learning_rate: float = 1e-3
    l2: float = 0.0
    batch: int = 256
    updates: int = 2500


def fit(problem: Problem, config: BCConfig, rng: np.random.Generator) -> Learned:
    """imitation's ``BC`` on the demonstrations.

    Args:
        problem: its demonstrations; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the policy, with the mean of its actions; no reward.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    policy = ActorCriticPolicy(
        problem.observation_space,
        problem.action_space,
        lambda _: config.learning_rate,
        **policy_kwargs(*moments(problem.demos.obs), config.hidden, 0.0),
    )
    demos = Batches(problem.demos, config.batch, rng)
    trainer = BC(
        observation_space=problem.observation_space,
        action_space=problem.action_space,
        rng=rng,
        policy=policy,
        demonstrations=demos,
        batch_size=demos.size,
        optimizer_kwargs={"lr": config.learning_rate},
        l2_weight=config.l2,
        device=problem.device,
        custom_logger=Silent(),
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(trainer.optimizer, config.updates)
    obs, acts, _ = (torch.tensor(part, device=problem.device) for part in problem.demos.transitions())
    curve: list[dict[str, float]] = []
    stride = max(1, config.updates // 20)
    kept = {"policy": policy, "optimiser": trainer.optimizer, "schedule": schedule, "demos": demos, "curve": curve}
    with warnings.catch_warnings():  # imitation converts tensors to floats in a way that torch now warns of
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad", UserWarning)
        for count in problem.checkpoint.loop("bc", math.ceil(config.updates / stride), **kept):
            done = min((count + 1) * stride, config.updates)
            trainer.train(n_batches=done - count * stride, on_batch_end=schedule.step, progress_bar=False)
            with torch.no_grad():
                loss = -policy.get_distribution(obs).log_prob(acts).mean().item()
            curve.append({"gradient_steps": done, "negative_log_likelihood": loss})
            problem.progress(done / config.updates, curve[-1])
            problem.checkpoint.show(done / config.updates, lambda: exported(policy))
    return Learned(exported(policy), None, "none", curve, config.updates)


SEARCH: dict[str, list[Any]] = {
    "hidden": [(64, 64), (128, 128), (256, 256)],
    "learning_rate": [3e-4, 1e-3, 3e-3],
    "l2": [0.0, 1e-5, 1e-4, 1e-3],
    "batch": [64, 128, 256],
    "updates": [2500, 10_000, 40_000],
}

METHOD = Method(
    name="bc",
    title="BC",
    source="Pomerleau 1991, Efficient Training of Artificial Neural Networks; imitation 1.0.1 (Gleave et al. 2022)",
    fit=fit,
    config=BCConfig,
    tuned=tuned("bc"),
    search=SEARCH,
    smoke={"hidden": (16, 16), "updates": 20},
    recovers_reward=False,
)
