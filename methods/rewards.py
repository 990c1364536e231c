"""Reward networks, shared by the diffusion method and the baselines."""

from collections.abc import Sequence
from typing import Any, Self

import torch

from methods.base import RewardPart, TrajectoryRewardPart
from methods.policies import mlp
from methods.windows import Codec


class StepReward(RewardPart):
    """An additive reward: a perceptron on what one step shows.

    Args:
        obs, acts: widths of observation and action.
        hidden: widths of the hidden layers.
        inputs: any of ``obs``, ``acts``, ``next_obs``: what it reads.
        columns: the observation columns it reads; None for all.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        obs: int,
        acts: int,
        hidden: Sequence[int] = (64, 64),
        inputs: Sequence[str] = ("obs",),
        columns: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            obs=obs,
            acts=acts,
            hidden=list(hidden),
            inputs=list(inputs),
            columns=None if columns is None else list(columns),
        )
        if unknown := set(inputs) - {"obs", "acts", "next_obs"}:
            raise ValueError(f"reward inputs {sorted(unknown)} are unknown: choose from obs, acts, next_obs")
        self.inputs = list(inputs)
        self.columns = list(range(obs)) if columns is None else list(columns)
        widths = {"obs": len(self.columns), "next_obs": len(self.columns), "acts": acts}
        self.net = mlp(sum(widths[name] for name in inputs), hidden, 1)
        self.register_buffer("mean", torch.zeros(obs))
        self.register_buffer("std", torch.ones(obs))

    def features(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        """What the perceptron reads, observations normalised: ``[.., F]``.

        Args:
            obs, next_obs: ``[.., O]``.
            acts: ``[.., A]``.
        """
        given = {
            "obs": ((obs - self.mean) / self.std)[..., self.columns],
            "acts": acts,
            "next_obs": ((next_obs - self.mean) / self.std)[..., self.columns],
        }
        return torch.cat([given[name] for name in self.inputs], -1)

    def forward(self, obs: torch.Tensor, acts: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.net(self.features(obs, acts, next_obs))
        return values.squeeze(-1)


class WindowReward(TrajectoryRewardPart):
    """The thesis' reward: a perceptron on the flattened, normalised window, in absolute coordinates.

    Args:
        obs, acts: widths of observation and action.
        tokens, skip, relative: of the window (:class:`methods.windows.Codec`).
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, obs: int, acts: int, tokens: int, skip: int, hidden: Sequence[int], relative: bool = False
    ) -> None:
        super().__init__(obs=obs, acts=acts, tokens=tokens, skip=skip, hidden=list(hidden), relative=relative)
        self.codec = Codec(obs, acts, tokens, skip, relative)
        self.length = self.codec.length
        self.net = mlp(tokens * self.codec.features, hidden, 1)

    @classmethod
    def of(cls, codec: Codec, hidden: Sequence[int], **more: Any) -> Self:
        """A fresh reward of the windows of a ``codec``, on its device; ``hidden`` and more as for the constructor."""
        shape = {name: getattr(codec, name) for name in ("obs", "acts", "tokens", "skip", "relative")}
        made = cls(**shape, hidden=list(hidden), **more)
        made.codec.load_state_dict(codec.state_dict())
        return made.to(codec.mean.device)

    def on_windows(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised windows ``x [n, H, D]`` to ``[n]``: what guides the reverse process."""
        values: torch.Tensor = self.net(self.codec.absolute(x).flatten(1))
        return values.squeeze(-1)

    def slope(self, x: torch.Tensor) -> torch.Tensor:
        """Gradient of :meth:`on_windows` with respect to the windows ``x [n, H, D]``: a guide, in closed form.

        W1' M1 W2' M2 .. w, where the mask M of a layer tells which units are on: differentiable in the weights, and
        piecewise constant in x and the biases. So back-propagation through the guidance needs no second derivatives.
        """
        *layers, last = (layer for layer in self.net if isinstance(layer, torch.nn.Linear))
        masks = []
        with torch.no_grad():
            h = self.codec.absolute(x).flatten(1)
            for layer in layers:
                h = layer(h).relu()
                masks.append(h > 0)
        gradient = last.weight
        for layer, mask in zip(reversed(layers), reversed(masks), strict=True):
            gradient = (gradient * mask) @ layer.weight
        return self.codec.pulled(gradient.view_as(x))

    def forward(self, obs: torch.Tensor, acts: torch.Tensor) -> torch.Tensor:
        return self.on_windows(self.codec.encode(obs, acts))
