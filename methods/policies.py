"""Policies that several methods share."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from envs.problem import Floats
from methods.base import PolicyPart


def mlp(inputs: int, hidden: Sequence[int], outputs: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A plain multilayer perceptron; no activation after the last layer.

    Args:
        inputs, outputs: widths of what it reads and gives.
        hidden: widths of the hidden layers.
        activation: between layers.
    """
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def waves(x: torch.Tensor, octaves: int) -> torch.Tensor:
    """Sines and cosines of ``x`` ``[.., F]`` in half waves of length 2, 1, 1/2 .., ``[.., 2 * F * octaves]``.

    With them a perceptron tells places apart that lie close together (Tancik et al. 2020, section 6.1).
    """
    angles = (x[..., None] * (math.pi / 2 * 2.0 ** torch.arange(octaves, device=x.device))).flatten(-2)
    return torch.cat([angles.sin(), angles.cos()], -1)


class MLPPolicy(PolicyPart):
    """A deterministic policy: normalise, perceptron, squash into the action limits.

    Args:
        obs: width of the observation.
        low, high: action limits.
        hidden: widths of the hidden layers.
        activation: ``relu`` or ``tanh``.
        squash: ``tanh`` (scaled to the limits) or ``clip``.
    """

    mean: torch.Tensor
    std: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(
        self,
        obs: int,
        low: Sequence[float],
        high: Sequence[float],
        hidden: Sequence[int] = (256, 256),
        activation: str = "relu",
        squash: str = "tanh",
    ) -> None:
        super().__init__(
            obs=obs, low=list(low), high=list(high), hidden=list(hidden), activation=activation, squash=squash
        )
        self.squash = squash
        self.net = mlp(obs, hidden, len(low), {"relu": nn.ReLU, "tanh": nn.Tanh}[activation])
        for name, value in (("mean", torch.zeros(obs)), ("std", torch.ones(obs))):
            self.register_buffer(name, value)
        self.register_buffer("low", torch.tensor(list(low), dtype=torch.float32), persistent=False)
        self.register_buffer("high", torch.tensor(list(high), dtype=torch.float32), persistent=False)

    def normalise(self, obs: torch.Tensor) -> torch.Tensor:
        """Observations ``obs [n, O]`` as the network reads them, limited to ten standard deviations."""
        return ((obs - self.mean) / self.std).clamp(-10, 10)

    def actions(self, obs: torch.Tensor) -> torch.Tensor:
        """Differentiable: tensors ``obs [n, O]`` to ``[n, A]`` within the limits."""
        raw: torch.Tensor = self.net(self.normalise(obs))
        if self.squash == "clip":
            return raw.clamp(self.low, self.high)
        return self.low + (raw.tanh() + 1) / 2 * (self.high - self.low)

    @torch.no_grad()
    def forward(self, obs: Floats, rng: np.random.Generator) -> Floats:
        return self.actions(torch.as_tensor(obs, device=self.mean.device)).cpu().numpy()
