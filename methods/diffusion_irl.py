"""The thesis' method: a reward whose guidance makes a diffusion model's samples match the demonstrations.

S. Oliveira, Inverse RL using Generative Planning Models in Trajectory Space, UCL MSc thesis, 2024. The reward is learnt
by back-propagating a similarity between samples and demonstrations through the guided reverse process.
"""

import copy
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import create_model, model_validator

from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.diffuser import Diffuser
from methods.divergence import keep
from methods.graphs import captured
from methods.planner import Planner, Planning
from methods.pretraining import TOY, TUNED, BaseModel, base_model
from methods.rewards import WindowReward
from methods.similarity import SIMILARITIES
from methods.tuned import tuned
from methods.windows import WindowSampler, normal_noise


class DiffusionIRL(Config):
    """Settings; ``similarity`` is one of :data:`methods.similarity.SIMILARITIES`.

    ``through`` is how many of the last diffusion steps the loss is propagated through (0 for all); ``compared`` is how
    many tokens of a window are compared with the demonstrations (0 for all).
    """

    similarity: str = "mse"
    base: BaseModel = BaseModel()
    planning: Planning = Planning()
    hidden: tuple[int, ...] = (256, 128, 64)
    learning_rate: float = 2e-3
    updates: int = 200
    batch: int = 32
    through: int = 0
    compared: int = 0

    @model_validator(mode="after")
    def _guided_somewhere(self) -> "DiffusionIRL":
        last, through = max(self.planning.stop, 1), self.through or self.base.steps
        if through <= last:  # diffusion step 0 has no variance, hence no guidance
            raise ValueError(
                f"no gradient reaches the reward: the loss is propagated through the last {through} diffusion steps, "
                f"and the last {last} are not guided; raise through, or lower planning.stop ({self.planning.stop})"
            )
        return self


class Pushes:
    """A guide that remembers where it pushed, so that the reward's gradient is taken once for the whole chain.

    The reward's slope is piecewise constant in the window, so the chain depends on the reward through the pushes alone:
    the loss is propagated to them through the frozen denoiser, and from all of them at once to the reward.
    """

    def __init__(self, reward: WindowReward) -> None:
        self.reward = reward
        self.at: list[torch.Tensor] = []
        self.pushes: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            push = self.reward.slope(x)
        if torch.is_grad_enabled():
            self.at.append(x.detach())
            self.pushes.append(push.requires_grad_())
        return push

    def gradients(self, loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The loss' gradient with respect to each of the reward network's parameters; None where it does not matter."""
        pulls = torch.autograd.grad(loss, self.pushes)
        pushed = (self.reward.slope(torch.cat(self.at)) * torch.cat(pulls)).sum()
        return torch.autograd.grad(pushed, tuple(self.reward.net.parameters()), allow_unused=True)


Gradient = tuple[torch.Tensor, tuple[torch.Tensor | None, ...]]  # a loss, and its slope in each parameter


def reward_gradient(
    diffuser: Diffuser,
    reward: WindowReward,
    similarity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    compared: int,
    **sampling: Any,
) -> Callable[..., Gradient]:
    """The function of windows ``[n, H, D]`` and T + 1 draws of noise that gives the loss and its gradient.

    Args:
        diffuser: frozen.
        reward: guides it from the windows' first states.
        similarity: of samples to windows.
        compared: tokens that are compared.
        sampling: see :meth:`Diffuser.reverse`.
    """

    def gradient(target: torch.Tensor, *noise: torch.Tensor) -> Gradient:
        guide, codec = Pushes(reward), diffuser.codec
        sample = diffuser.reverse(target[:, 0, : codec.obs], noise, guide, **sampling)
        loss = similarity(*(codec.absolute(x)[:, :compared].flatten(1) for x in (sample, target)))
        return loss.detach(), guide.gradients(loss)

    return gradient


def fit(problem: Problem, config: DiffusionIRL, rng: np.random.Generator) -> Learned:
    """Learns the reward; the policy plans with the same reward that is scored.

    Args:
        problem: its demonstrations and base data; no environment step is taken.
        config: settings.
        rng: decides all draws.

    Returns:
        the planner, and the reward of windows, of kind ``trajectory``.

    Raises:
        ValueError: a similarity that is unknown.
        Diverged: the loss left all bounds.
    """
    if config.similarity not in SIMILARITIES:
        raise ValueError(f"similarity {config.similarity!r} is unknown: choose from {', '.join(SIMILARITIES)}")
    diffuser = base_model(problem, config.base)
    codec = diffuser.codec
    torch.manual_seed(int(rng.integers(2**31)))
    reward = WindowReward.of(codec, config.hidden)
    plan = config.planning
    optimiser = torch.optim.Adam(reward.net.parameters(), config.learning_rate)
    demos = WindowSampler(problem.demos, codec.length, rng)
    through, compared = config.through or diffuser.steps, config.compared or codec.tokens
    gradient = reward_gradient(
        diffuser, reward, SIMILARITIES[config.similarity], compared, differentiable=through, **plan.sampling()
    )
    step = None
    curve: list[dict[str, float]] = []
    remedy = f"lower learning_rate ({config.learning_rate:g}) or planning.scale ({plan.scale:g})"
    for update in problem.checkpoint.loop("reward", config.updates, net=reward, optimiser=optimiser, curve=curve):
        target = codec.encode(*demos.draw(config.batch))
        given = target, *normal_noise(config.batch, codec, diffuser.steps + 1, rng)
        step = step or captured(gradient, *given)
        loss, gradients = step(*given)
        for weight, slope in zip(reward.net.parameters(), gradients, strict=True):
            weight.grad = slope
        norm = float(torch.nn.utils.clip_grad_norm_(reward.net.parameters(), 1.0))
        optimiser.step()
        row = {"gradient_steps": update + 1, "loss": loss.item(), "gradient_norm": norm}
        keep(curve, row, "loss", remedy)
        problem.progress((update + 1) / config.updates, {"loss": loss.item()})
    reward.eval()
    planner = Planner.of(plan, diffuser, reward)
    return Learned(planner, copy.deepcopy(reward).cpu(), "trajectory", curve, config.updates)


SOURCE = "Oliveira 2024, Inverse RL using Generative Planning Models in Trajectory Space (MSc thesis, UCL)"


# the number of updates stays, so that trials cost about the same
SEARCH: dict[str, list[Any]] = {
    "planning.scale": [0.3, 1.0, 3.0],
    "planning.inner": [1, 2, 4],
    "planning.temperature": [0.5, 1.0],
    "planning.execute": [2, 4],
    "learning_rate": [5e-4, 2e-3, 5e-3],
    "compared": [0, 2, 8],
    "hidden": [(256, 128, 64), (64, 64)],
}


def _method(similarity: str, label: str) -> Method:
    fixed: Any = {"similarity": (Literal[similarity], similarity)}
    return Method(
        name=f"diffusion-irl-{similarity}",
        title=f"Diffusion-IRL ({label})",
        source=SOURCE,
        fit=fit,
        config=create_model(f"DiffusionIRL_{similarity}", __base__=DiffusionIRL, **fixed),
        tuned=tuned(f"diffusion-irl-{similarity}", TUNED),
        search=SEARCH,
        smoke={"base": TOY.model_dump(), "hidden": (16,), "updates": 2, "batch": 4},
    )


METHODS = [_method("mse", "MSE"), _method("mmd-gaussian", "MMD, Gaussian"), _method("mmd-matern", "MMD, Matern")]
