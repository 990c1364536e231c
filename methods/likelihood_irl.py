"""The thesis' reward learnt by the likelihood of the demonstrations, without back-propagation through the sampler.

Windows are taken to be distributed as those of the base model times exp R. The likelihood's slope is then what R gives
the demonstrations more than the model's own samples (Ziebart et al. 2008, eq. 6), for which windows sampled under the
guidance of R stand.
"""

import copy
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.divergence import keep_some
from methods.planner import Planner, Planning
from methods.pretraining import TOY, TUNED, BaseModel, base_model
from methods.rewards import WindowReward
from methods.tuned import tuned
from methods.windows import WindowSampler, normal_noise


class LikelihoodIRL(Config):
    """Settings; ``penalty`` weighs the reward's squared slope, without which it would grow for ever.

    Samples start where the demonstrations' windows do, the share ``anchored`` of them where base data's do: without
    these the reward is free up to a function of the start.
    """

    base: BaseModel = BaseModel()
    planning: Planning = Planning()
    hidden: tuple[int, ...] = (256, 128, 64)
    learning_rate: float = 5e-4
    penalty: float = Field(0.1, ge=0)
    anchored: float = Field(0.0, ge=0, le=1)
    updates: int = 300
    batch: int = 64


def contrast(reward: WindowReward, shown: Tensor, sampled: Tensor, penalty: float) -> Tensor:
    """What the reward gives samples more than demonstrations, and the penalty on its squared slope at both.

    Args:
        reward: trained.
        shown, sampled: normalised windows ``[n, H, D]``.
        penalty: weight, >= 0.

    Returns:
        scalar; but for the penalty, minus its slope is that of the likelihood: Ziebart et al. 2008, eq. 6.
    """
    x = torch.cat([shown, sampled])
    theirs, ours = reward.on_windows(x).chunk(2)
    return ours.mean() - theirs.mean() + penalty * reward.slope(x).square().flatten(1).sum(1).mean()


def fit(problem: Problem, config: LikelihoodIRL, rng: np.random.Generator) -> Learned:
    """Learns the reward; the policy plans with the same reward that is scored.

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the planner, and the reward of windows, of kind ``trajectory``.

    Raises:
        Diverged: the loss left all bounds.
    """
    c, diffuser = config, base_model(problem, config.base)
    codec = diffuser.codec
    torch.manual_seed(int(rng.integers(2**31)))
    reward = WindowReward.of(codec, c.hidden)
    demos, base = (WindowSampler(data, codec.length, rng) for data in (problem.demos, problem.base))
    elsewhere = round(c.anchored * c.batch)
    optimiser = torch.optim.Adam(reward.net.parameters(), c.learning_rate)
    curve: list[dict[str, float]] = []
    for update in problem.checkpoint.loop("reward", c.updates, net=reward, optimiser=optimiser, curve=curve):
        shown = codec.encode(*demos.draw(c.batch))
        first = shown[:, 0, : codec.obs].clone()
        if elsewhere:
            first[:elsewhere] = codec.encode(*base.draw(elsewhere))[:, 0, : codec.obs]
        noise = normal_noise(c.batch, codec, diffuser.steps + 1, rng)
        sampled = diffuser.reverse(first, noise, reward.slope, **c.planning.sampling())
        loss = contrast(reward, shown, sampled, c.penalty)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reward.net.parameters(), 1.0)
        optimiser.step()
        problem.progress((update + 1) / c.updates, {"loss": loss.item()})
        keep_some(curve, update, c.updates, "loss", loss.item(), f"lower learning_rate ({c.learning_rate:g})")
    reward.eval()
    return Learned(
        Planner.of(c.planning, diffuser, reward), copy.deepcopy(reward).cpu(), "trajectory", curve, c.updates
    )


SEARCH: dict[str, list[Any]] = {
    "planning.scale": [1.0, 3.0, 10.0],
    "planning.inner": [1, 2, 4],
    "planning.temperature": [0.5, 1.0],
    "learning_rate": [2e-4, 5e-4, 2e-3],
    "penalty": [0.03, 0.1, 0.3],
    "anchored": [0.0, 0.25, 0.5],
    "hidden": [(256, 128, 64), (64, 64)],
}

METHOD = Method(
    name="diffusion-irl-likelihood",
    title="Diffusion-IRL (likelihood)",
    source="this project; after Oliveira 2024 and Ziebart et al. 2008, Maximum Entropy Inverse RL",
    fit=fit,
    config=LikelihoodIRL,
    tuned=tuned("diffusion-irl-likelihood", TUNED),
    search=SEARCH,
    smoke={"base": TOY.model_dump(), "hidden": (16,), "updates": 2, "batch": 4},
)
