"""Behavioural cloning by diffusion: the base model fine-tuned on demonstrations acts as it is, without any reward.

Pearce et al. predict single actions; here windows are planned, as by Janner et al.
"""

import numpy as np

from envs.problem import Problem
from methods.base import Learned, Method
from methods.imitation import Imitating, imitated
from methods.planner import Planner, Planning
from methods.pretraining import TOY, TUNED
from methods.tuned import tuned


class DiffusionBC(Imitating):
    """Settings of the fine-tuning, and how windows are sampled to act."""

    planning: Planning = Planning(temperature=0.5)


def fit(problem: Problem, config: DiffusionBC, rng: np.random.Generator) -> Learned:
    """The fine-tuned base model as an unguided planner; it learns no reward.

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Raises:
        Diverged: the loss left all bounds.
    """
    model, curve = imitated(problem, config, rng)
    return Learned(Planner.of(config.planning, model), None, "none", curve, config.updates)


METHOD = Method(
    name="diffusion-bc",
    title="Diffusion BC",
    source="Pearce et al. 2023, Imitating Human Behaviour with Diffusion Models; on windows: Janner et al. 2022",
    fit=fit,
    config=DiffusionBC,
    tuned=tuned("diffusion-bc", TUNED),
    search={
        "share": [0.25, 0.5, 1.0],
        "updates": [300, 1000, 2000, 10_000],  # few demonstrations are soon known by heart
        "learning_rate": [1e-4, 3e-4, 1e-3],
        "planning.temperature": [0.0, 0.5, 1.0],
        "planning.execute": [1, 2, 4],
    },
    smoke={"base": TOY.model_dump(), "updates": 5, "batch": 16},
    recovers_reward=False,
)
