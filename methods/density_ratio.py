"""A step reward from the density ratio between demonstrations and base data.

A classifier told the noise level tells noised demonstration states from noised base states; without noise its logit is
log p_E(s') / p_B(s') (Sugiyama et al. 2012, ch. 4). The reward is softplus(logit) = -log(1 - D), GAIL's form (Ho and
Ermon 2016): high only where demonstrations are dense, flat and never negative elsewhere. It is asked at noise 0 alone,
though the classifier is trained on all noise levels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from envs.problem import Problem
from methods.base import Config, RewardPart
from methods.divergence import descend, keep_some
from methods.policies import mlp


class RatioReward(RewardPart):
    """softplus of the log density ratio of the next observation.

    Args:
        obs: width of the observation.
        hidden: widths of the hidden layers; empty for a linear logit.
        columns: the observation columns it reads; None for all.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, obs: int, hidden: Sequence[int] = (64, 64), columns: Sequence[int] | None = None) -> None:
        super().__init__(obs=obs, hidden=list(hidden), columns=None if columns is None else list(columns))
        self.columns = list(range(obs)) if columns is None else list(columns)
        self.net = mlp(len(self.columns) + 1, hidden, 1)
        self.register_buffer("mean", torch.zeros(obs))
        self.register_buffer("std", torch.ones(obs))

    def features(self, obs: Tensor) -> Tensor:
        """The columns it reads, normalised: ``[.., F]``."""
        return ((obs - self.mean) / self.std)[..., self.columns]

    def logit(self, features: Tensor, noise: Tensor) -> Tensor:
        """Log ratio ``[..]`` of features ``[.., F]`` noised to the share ``noise`` ``[.., 1]`` in [0, 1]."""
        logit: Tensor = self.net(torch.cat([features, noise], -1))
        return logit.squeeze(-1)

    def forward(self, obs: Tensor, acts: Tensor, next_obs: Tensor) -> Tensor:
        features = self.features(next_obs)
        return functional.softplus(self.logit(features, torch.zeros_like(features[..., :1])))


class Ratio(Config):
    """Settings of the classifier.

    ``penalty`` weighs its squared gradient; ``clean`` is the share of states that get no noise.
    """

    hidden: tuple[int, ...] = (64, 64)
    columns: tuple[int, ...] | None = None
    updates: int = 1000
    batch: int = 512
    learning_rate: float = 1e-3
    penalty: float = 0.01
    clean: float = 0.25


def fit_ratio(problem: Problem, config: Ratio, rng: np.random.Generator) -> tuple[RatioReward, list[dict[str, float]]]:
    """Trains the classifier.

    Args:
        problem: its demonstrations and base data.
        config: settings.
        rng: decides initial weights, batches and noise.

    Returns:
        the reward, and a curve of the loss.

    Raises:
        Diverged: the loss left all bounds.
    """
    torch.manual_seed(int(rng.integers(2**31)))
    width = problem.demos.obs.shape[-1]
    reward = RatioReward(obs=width, hidden=config.hidden, columns=config.columns)
    seen = problem.base.obs.reshape(-1, width)
    reward.mean[:], reward.std[:] = torch.tensor(seen.mean(0)), torch.tensor(seen.std(0)).clamp(min=1e-3)
    expert, base = (reward.features(torch.tensor(data.transitions()[2])) for data in (problem.demos, problem.base))
    optimiser = torch.optim.Adam(reward.net.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, config.updates)
    labels = torch.cat([torch.ones(config.batch), torch.zeros(config.batch)])
    curve: list[dict[str, float]] = []
    remedy = f"lower ratio.learning_rate ({config.learning_rate:g})"
    kept = {"net": reward, "optimiser": optimiser, "schedule": schedule, "curve": curve}
    for update in problem.checkpoint.loop("ratio", config.updates, **kept):
        x = torch.cat([data[torch.as_tensor(rng.integers(len(data), size=config.batch))] for data in (expert, base)])
        noise = rng.uniform(size=(len(x), 1)) * (rng.random((len(x), 1)) >= config.clean)
        share = torch.as_tensor(noise.astype(np.float32))
        x = (1 - share**2).sqrt() * x + share * torch.as_tensor(rng.standard_normal(x.shape, np.float32))
        logit = reward.logit(x.requires_grad_(), share)
        (slope,) = torch.autograd.grad(logit.sum(), x, create_graph=True)
        fit_loss = functional.binary_cross_entropy_with_logits(logit, labels)
        descend(fit_loss + config.penalty * slope.square().sum(-1).mean(), optimiser, schedule)
        keep_some(curve, update, config.updates, "classifier_loss", fit_loss.item(), remedy)
    return reward.eval(), curve
