"""The base model fine-tuned on demonstrations: the diffusion model of the expert's windows."""

import copy

import numpy as np
import torch
from pydantic import Field

from envs.problem import Problem
from methods.base import Config
from methods.diffuser import Diffuser
from methods.divergence import keep_some
from methods.pretraining import BaseModel, base_model
from methods.windows import WindowSampler


class Imitating(Config):
    """Settings; ``share`` of each batch are windows of demonstrations, the rest base data against forgetting."""

    base: BaseModel = BaseModel()
    share: float = Field(1.0, gt=0, le=1)
    updates: int = 2000
    batch: int = 256
    learning_rate: float = 3e-4
    ema: float = 0.995


def imitated(problem: Problem, config: Imitating, rng: np.random.Generator) -> tuple[Diffuser, list[dict[str, float]]]:
    """The base model, fine-tuned on windows of demonstrations.

    No equation is cited: the loss is that of the base model (:meth:`methods.diffuser.Diffuser.descend`).

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the model, frozen, and a curve of the loss.

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
    return averaged.requires_grad_(False), curve
