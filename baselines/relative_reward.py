"""The relative reward of two diffusion models: its slope is what the expert's score has more than the base model's.

Nuti, Franzmeyer and Henriques 2023, Extracting Reward Functions from Diffusion Models. The expert's model is the base
model fine-tuned on demonstrations, for these are too few to train one on alone.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.problem import Floats, Problem
from methods.base import Config, Learned, Method
from methods.diffuser import Diffuser, Watch, ascent, cosine_alpha_bars
from methods.divergence import descend, keep_some
from methods.imitation import Imitating, imitated
from methods.planner import Planner, Planning
from methods.policies import mlp
from methods.pretraining import TOY, TUNED, base_model
from methods.rewards import WindowReward
from methods.tuned import tuned
from methods.windows import WindowSampler


class RelativeReward(WindowReward):
    """A reward of noised windows, told the diffusion step; that of the first, least noised one is what is scored.

    Args:
        obs, acts, tokens, skip, hidden, relative: see :class:`methods.rewards.WindowReward`.
        steps: diffusion steps T.
    """

    def __init__(
        self, obs: int, acts: int, tokens: int, skip: int, hidden: list[int], steps: int, relative: bool = False
    ) -> None:
        super().__init__(obs, acts, tokens, skip, hidden, relative)
        self.arguments["steps"] = steps
        self.steps, self.level = steps, 0  # the diffusion step at which windows are taken to be
        bars = cosine_alpha_bars(steps)
        self.units: list[float] = (bars.sqrt() / (1 - bars)).tolist()
        self.net = mlp(tokens * self.codec.features + steps, hidden, 1, nn.SiLU)  # whose slope is smooth

    def gain(self, x: Tensor, t: Tensor) -> Tensor:
        """What the network makes ``[n]`` of normalised windows ``[n, H, D]`` at diffusion steps ``t [n]``."""
        seen = torch.cat([self.codec.absolute(x).flatten(1), functional.one_hot(t, self.steps)], 1)
        values: Tensor = self.net(seen)
        return values.squeeze(-1)

    def on_windows(self, x: Tensor) -> Tensor:
        return self.units[self.level] * self.gain(x, torch.full((len(x),), self.level, device=x.device))

    def slope(self, x: Tensor) -> Tensor:
        return ascent(self.on_windows)(x)


class StepwisePlanner(Planner):
    """A planner whose reward is told at which diffusion step it guides."""

    def plan(self, obs: Floats, rng: np.random.Generator, watch: Watch | None = None) -> tuple[Floats, Floats]:
        def told(left: int, x: Tensor) -> None:
            assert isinstance(self.reward, RelativeReward)
            self.reward.level = max(left - 1, 0)
            if watch is not None:
                watch(left, x)

        return super().plan(obs, rng, told)


class Matching(Config):
    """Settings of the reward's training."""

    hidden: tuple[int, ...] = (256, 256)
    updates: int = 800
    batch: int = 256
    learning_rate: float = 1e-3


class Relative(Imitating):
    """Settings: those of the expert's model, of the reward, and how windows are sampled to act."""

    updates: int = 300
    matching: Matching = Matching()
    planning: Planning = Planning()


def mismatch(reward: RelativeReward, base: Diffuser, expert: Diffuser, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """How far the network's slope is from the difference of the clean windows that both models expect.

    Scores differ by that times sqrt(bar_t) / (1 - bar_t), and so is the network's output multiplied to give the reward:
    as in the authors' code, which compares posterior means, no diffusion step outweighs the others.

    Args:
        reward: trained.
        base, expert: frozen; of the same windows.
        x0: clean windows ``[n, H, D]``.
        t: diffusion steps ``[n]``.
        noise: standard normal ``[n, H, D]``.

    Returns:
        scalar, the mean squared error. Source: Nuti et al. 2023, section 4.
    """
    pin, first = base.codec.pin, x0[:, 0, : base.codec.obs]
    x = pin(base.noised(x0, t, noise), first)
    with torch.no_grad():
        gap = expert.denoised(x, t) - base.denoised(x, t)
    (slope,) = torch.autograd.grad(reward.gain(x.requires_grad_(), t).sum(), x, create_graph=True)
    return pin(slope - gap, torch.zeros_like(first)).square().mean()


def fit(problem: Problem, config: Relative, rng: np.random.Generator) -> Learned:
    """Learns the expert's model, then the reward; the policy is the base model guided by it.

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the planner, and the reward of windows, of kind ``trajectory``.

    Raises:
        Diverged: a loss left all bounds.
    """
    c, base = config.matching, base_model(problem, config.base)
    expert, curve = imitated(problem, config, rng)
    codec = base.codec
    torch.manual_seed(int(rng.integers(2**31)))
    reward = RelativeReward.of(codec, c.hidden, steps=base.steps)
    optimiser = torch.optim.Adam(reward.net.parameters(), c.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, c.updates)
    samplers = [WindowSampler(data, codec.length, rng) for data in (problem.demos, problem.base)]
    kept = {"net": reward, "optimiser": optimiser, "schedule": schedule, "curve": curve}
    for update in problem.checkpoint.loop("reward", c.updates, **kept):
        x0 = torch.cat([codec.encode(*sampler.draw(c.batch // 2)) for sampler in samplers])
        t = torch.as_tensor(rng.integers(base.steps, size=len(x0)), device=x0.device)
        noise = torch.as_tensor(rng.standard_normal(x0.shape, np.float32), device=x0.device)
        loss = descend(mismatch(reward, base, expert, x0, t, noise), optimiser, schedule)
        keep_some(curve, update, c.updates, "mismatch", loss, f"lower learning_rate ({c.learning_rate:g})")
        problem.progress((update + 1) / c.updates, {"mismatch": loss})
    reward.eval()
    planner = Planner.of(config.planning, base, reward)
    stepwise = StepwisePlanner(**planner.arguments)
    stepwise.load_state_dict(planner.state_dict())
    stepwise.to(codec.mean.device)
    return Learned(stepwise, copy.deepcopy(reward).cpu(), "trajectory", curve, config.updates + c.updates)


SEARCH: dict[str, list[Any]] = {
    "updates": [100, 300, 1000],  # few demonstrations are soon known by heart
    "learning_rate": [1e-4, 3e-4, 1e-3],
    "matching.learning_rate": [3e-4, 1e-3, 3e-3],
    "matching.hidden": [(256, 256), (512, 512)],
    "planning.scale": [0.5, 1.0, 2.0, 4.0],
    "planning.inner": [1, 2],
    "planning.temperature": [0.5, 1.0],
}

METHOD = Method(
    name="relative-reward",
    title="Relative reward",
    source="Nuti, Franzmeyer and Henriques 2023, Extracting Reward Functions from Diffusion Models",
    fit=fit,
    config=Relative,
    tuned=tuned("relative-reward", TUNED),
    search=SEARCH,
    smoke={"base": TOY.model_dump(), "updates": 5, "batch": 16, "matching": {"updates": 5, "batch": 8}},
)
