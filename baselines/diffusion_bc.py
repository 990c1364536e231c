"""Behavioural cloning by diffusion: the base model fine-tuned on demonstrations acts as it is, without any reward.

No equation is cited: the loss is that of the base model (:meth:`methods.diffuser.Diffuser.descend`), on windows of
demonstrations. Pearce et al. predict single actions; here windows are planned, as by Janner et al.
"""

import copy

import numpy as np
import torch
from pydantic import Field

from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.divergence import keep_some
from methods.planner import Planner, Planning
from methods.pretraining import TOY, TUNED, BaseModel, base_model
from methods.tuned import tuned
from methods.windows import WindowSampler


class DiffusionBC(Config):
    """Settings; ``share`` of each batch are windows of demonstrations, the rest base data against forgetting."""

    base: BaseModel = BaseModel()
    planning: Planning = Planning(temperature=0.5)
    share: float = Field(1.0, gt=0, le=1)
    updates: int = 2000
    batch: int = 256
    learning_rate: float = 3e-4
    ema: float = 0.995


def fit(problem: Problem, config: DiffusionBC, rng: np.random.Generator) -> Learned:
    """The base model, fine-tuned on windows of demonstrations, as an unguided planner.

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the planner; no reward.

    Raises:
        Diverged: the loss left all bounds.
    """
    c = config
    model = copy.deepcopy(base_model(problem, c.base)).requires_grad_(True)
    averaged = copy.deepcopy(model)
    demos, base = (WindowSampler(data, model.codec.length, rng) for data in (problem.demos, problem.base))
    optimiser = torch.optim.Adam(model.parameters(), c.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, c.updates)
    own = round(c.share * c.batch)
    curve: list[dict[str, float]] = []
    kept = {"net": model, "averaged": averaged, "optimiser": optimiser, "schedule": schedule, "curve": curve}
    for update in problem.checkpoint.loop("imitation", c.updates, **kept):
        drawn = [sampler.draw(n) for sampler, n in ((demos, own), (base, c.batch - own)) if n]
        x0 = torch.cat([model.codec.encode(*windows) for windows in drawn])
        loss = model.descend(x0, optimiser, schedule, rng)
        averaged.follow(model, min(c.ema, (update + 1) / (update + 10)))
        keep_some(curve, update, c.updates, "loss", loss, f"lower learning_rate ({c.learning_rate:g})")
        problem.progress((update + 1) / c.updates, {"loss": loss})
    return Learned(Planner.of(c.planning, averaged.requires_grad_(False)), None, "none", curve, c.updates)


METHOD = Method(
    name="diffusion-bc",
    title="Diffusion BC",
    source="Pearce et al. 2023, Imitating Human Behaviour with Diffusion Models; on windows: Janner et al. 2022",
    fit=fit,
    config=DiffusionBC,
    tuned=tuned("diffusion-bc", TUNED),
    search={
        "share": [0.25, 0.5, 1.0],
        "updates": [300, 1000, 2000],  # few demonstrations are soon known by heart
        "learning_rate": [1e-4, 3e-4, 1e-3],
        "planning.temperature": [0.0, 0.5, 1.0],
    },
    smoke={"base": TOY.model_dump(), "updates": 5, "batch": 16},
    recovers_reward=False,
)
