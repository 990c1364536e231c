"""The value of a reward, fitted on base data: what lies beyond a planning window."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from envs.checkpoint import Checkpoint
from envs.problem import Floats, Trajectories
from methods.base import Config, Part, RewardPart
from methods.divergence import descend, keep_some
from methods.graph_value import graph_values
from methods.policies import mlp
from methods.windows import WindowSampler


class Value(Part):
    """State value: ``forward(obs [.., O]) -> [..]``, discounted per environment step."""

    mean: Tensor
    std: Tensor
    scale: Tensor

    def __init__(self, obs: int, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__(obs=obs, hidden=list(hidden))
        self.net = mlp(obs, hidden, 1)
        self.register_buffer("mean", torch.zeros(obs))
        self.register_buffer("std", torch.ones(obs))
        self.register_buffer("scale", torch.ones(()))  # the network's output times this is the value

    def forward(self, obs: Tensor) -> Tensor:
        values: Tensor = self.net((obs - self.mean) / self.std).squeeze(-1)
        return values * self.scale


class Valuing(Config):
    """Settings: ``steps`` rewards before the bootstrap, ``expectile`` in (0.5, 1) for the better of what data hold.

    With a ``radius``, in standard deviations of each observation, values are those of the graph that joins base states
    within it (:func:`methods.graph_value.graph_values`), and ``expectile`` and ``target_rate`` are not used.
    """

    hidden: tuple[int, ...] = (128, 128)
    discount: float = 0.99
    steps: int = 10
    expectile: float = 0.9
    updates: int = 1500
    batch: int = 512
    learning_rate: float = 1e-3
    target_rate: float = 0.02
    radius: float = Field(0.0, ge=0)


def discounted(rewards: Tensor, discount: float) -> Tensor:
    """Discounted sums ``[n]`` of rewards ``[n, L]``."""
    return rewards @ (discount ** torch.arange(rewards.shape[1], dtype=rewards.dtype, device=rewards.device))


def on_graph(
    value: Value, base: Trajectories, rewards: Floats, config: Valuing, rng: np.random.Generator
) -> Callable[[], Tensor]:
    """The loss of a batch of nodes against :func:`methods.graph_value.graph_values`, drawn anew at every call.

    Args:
        value: what is fitted.
        base: trajectories whose states are the nodes.
        rewards: float32 ``[N, T]``, of each of their steps.
        config: settings.
        rng: decides batches.
    """
    nodes, known = graph_values(base, rewards, config.discount, config.steps, config.radius)
    places, worths = torch.tensor(nodes), torch.tensor(known, dtype=torch.float32)

    def loss() -> Tensor:
        drawn = torch.as_tensor(rng.integers(len(places), size=config.batch))
        mean: Tensor = 0.5 * ((worths[drawn] - value(places[drawn])) / value.scale).square().mean()
        return mean

    return loss


def on_expectiles(
    value: Value, target: Value, base: Trajectories, rewards: Floats, config: Valuing, rng: np.random.Generator
) -> Callable[[], Tensor]:
    """The expectile loss of a batch of n-step returns, drawn anew at every call, which moves the target first.

    Args:
        value: what is fitted.
        target: follows it slowly; values what comes after the n steps.
        base: trajectories.
        rewards: float32 ``[N, T]``, of each of their steps.
        config: settings.
        rng: decides batches.
    """
    # rewards travel with the observations as an action column, so that one sampler draws both
    sampler = WindowSampler(Trajectories(base.obs, rewards[..., None]), config.steps, rng)

    def loss() -> Tensor:
        seen, gained = sampler.draw(config.batch)
        with torch.no_grad():
            for slow, fast in zip(target.net.parameters(), value.net.parameters(), strict=True):
                slow.lerp_(fast, config.target_rate)
            rest = config.discount**config.steps * target(seen[:, -1])
        error = (discounted(gained[..., 0], config.discount) + rest - value(seen[:, 0])) / value.scale
        mean: Tensor = (torch.where(error > 0, config.expectile, 1 - config.expectile) * error.square()).mean()
        return mean

    return loss


def fit_value(
    base: Trajectories,
    reward: RewardPart,
    config: Valuing,
    rng: np.random.Generator,
    checkpoint: Checkpoint | None = None,
    curve: list[dict[str, float]] | None = None,
) -> Value:
    """Regression on base data relabelled with the reward: on values of a graph if a radius is set, else on expectiles.

    The latter of n-step returns (Kostrikov et al. 2022, eq. 5, for V alone).

    Args:
        base: arbitrary trajectories.
        reward: the reward to value.
        config: settings.
        rng: decides initial weights and batches.
        checkpoint: keeps the run, so that it can go on after a kill; None keeps nothing.
        curve: gets rows of ``value_loss``.

    Raises:
        ValueError: more steps than the episodes have.
        Diverged: the loss left all bounds.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    curve = [] if curve is None else curve
    obs, acts, next_obs = (torch.tensor(x) for x in base.transitions())
    value = Value(obs=obs.shape[-1], hidden=config.hidden)
    with torch.no_grad():
        rewards = torch.cat(
            [reward(*piece) for piece in zip(obs.split(65536), acts.split(65536), next_obs.split(65536), strict=True)]
        )
    value.mean[:], value.std[:] = obs.mean(0), obs.std(0).clamp(min=1e-3)
    value.scale.fill_(rewards.square().mean().sqrt().clamp(min=1e-6) / (1 - config.discount))
    relabelled = rewards.reshape(len(base), -1).numpy()
    target = None if config.radius else copy.deepcopy(value)
    if target is None:
        loss = on_graph(value, base, relabelled, config, rng)
    else:
        loss = on_expectiles(value, target, base, relabelled, config, rng)
    optimiser = torch.optim.Adam(value.net.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, config.updates)
    remedy = f"lower value.learning_rate ({config.learning_rate:g})"
    kept = {"net": value, "target": target, "optimiser": optimiser, "schedule": schedule, "curve": curve}
    for update in (checkpoint or Checkpoint()).loop("value", config.updates, **kept):
        keep_some(curve, update, config.updates, "value_loss", descend(loss(), optimiser, schedule), remedy)
    return value.eval()
