"""Windows: how pieces of trajectories become the sequences that the diffusion model works on.

A window is a sequence of tokens; a token holds one observation and the actions of the next ``skip`` environment steps.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.problem import Trajectories


class Codec(nn.Module):
    """Trajectory pieces to normalised windows and back.

    Args:
        obs, acts: widths of observation and action.
        tokens: H, tokens per window, >= 1.
        skip: environment steps per token, >= 1.
        relative: observations after the first are differences to it, in units of each token's own deviation: near
            tokens are then as finely resolved as far ones, whatever the size of the whole space.
    """

    mean: Tensor
    std: Tensor
    known: Tensor

    def __init__(self, obs: int, acts: int, tokens: int, skip: int, relative: bool = False) -> None:
        super().__init__()
        if tokens < 1 or skip < 1:
            raise ValueError(f"tokens = {tokens}, skip = {skip}: both must be at least 1")
        self.obs, self.acts, self.tokens, self.skip, self.relative = obs, acts, tokens, skip, relative
        self.features = obs + skip * acts
        shape = (tokens, self.features) if relative else (self.features,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.ones(shape))
        known = (torch.arange(tokens)[:, None] == 0) & (torch.arange(self.features) < obs)
        self.register_buffer("known", known, persistent=False)  # of a window: its first observation

    @property
    def length(self) -> int:
        """Environment steps a window spans, H * skip."""
        return self.tokens * self.skip

    def fit(self, data: Trajectories) -> None:
        """Takes mean and standard deviation of every feature from the data."""
        acts = data.acts.reshape(-1, self.acts)
        for token in range(self.tokens if self.relative else 1):
            ahead = token * self.skip
            seen = data.obs[:, ahead:] - data.obs[:, : data.steps + 1 - ahead] if token else data.obs[:, :-1]
            for buffer, rows in (
                (self.mean, [seen.mean((0, 1)), acts.mean(0)]),
                (self.std, [seen.std((0, 1)), acts.std(0)]),
            ):
                row = torch.as_tensor(np.concatenate([rows[0], np.tile(rows[1], self.skip)]))
                buffer.view(-1, self.features)[token] = row
        self.std.clamp_(min=1e-3)

    def encode(self, obs: Tensor, acts: Tensor) -> Tensor:
        """Normalised windows.

        Args:
            obs: ``[n, >= H*skip, O]``, observations before each step; later ones are ignored. On any device.
            acts: ``[n, H*skip, A]``.

        Returns:
            ``[n, H, D]`` with D = O + skip * A, observation first, on the codec's device.
        """
        obs, acts = (given.to(self.mean.device) for given in (obs, acts))
        kept = obs[:, : self.length : self.skip]
        if self.relative:
            kept = torch.cat([kept[:, :1], kept[:, 1:] - kept[:, :1]], 1)
        grouped = acts.reshape(len(acts), self.tokens, self.skip * self.acts)
        return (torch.cat([kept, grouped], -1) - self.mean) / self.std

    def decode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Windows back to units: observations ``[n, H, O]`` and actions ``[n, H*skip, A]``."""
        raw = x * self.std + self.mean
        obs = raw[..., : self.obs]
        if self.relative:
            obs = torch.cat([obs[:, :1], obs[:, 1:] + obs[:, :1]], 1)
        return obs, raw[..., self.obs :].reshape(len(x), self.length, self.acts)

    def absolute(self, x: Tensor) -> Tensor:
        """Windows ``[n, H, D]`` with every observation in the first one's units and origin, as rewards see them."""
        if not self.relative:
            return x
        o, mean, std = self.obs, self.mean[:, : self.obs], self.std[:, : self.obs]
        later = (x[:, 1:, :o] * std[1:] + mean[1:]) / std[0] + x[:, :1, :o]
        return torch.cat([torch.cat([x[:, :1, :o], later], 1), x[..., o:]], -1)

    def pulled(self, gradient: Tensor) -> Tensor:
        """The gradient with respect to windows, from that with respect to their :meth:`absolute` form."""
        if not self.relative:
            return gradient
        o, std = self.obs, self.std[:, : self.obs]
        seen = torch.cat([gradient[..., :o].sum(1, keepdim=True), gradient[:, 1:, :o] * (std[1:] / std[0])], 1)
        return torch.cat([seen, gradient[..., o:]], -1)

    def first(self, obs: Tensor) -> Tensor:
        """Observations ``[n, O]`` in the windows' units."""
        mean, std = (buffer.view(-1, self.features)[0, : self.obs] for buffer in (self.mean, self.std))
        return (obs - mean) / std

    def pin(self, x: Tensor, first: Tensor) -> Tensor:
        """Sets the first observation of each window (in-painting), keeping the gradient of the rest.

        Args:
            x: ``[n, H, D]``.
            first: ``[n, O]``, normalised.
        """
        return torch.where(self.known, functional.pad(first, (0, self.features - self.obs))[:, None], x)


class WindowSampler:
    """Draws pieces of ``length`` steps that start anywhere, without copying the data first.

    Args:
        trajectories: where from.
        length: steps per piece, 1..T.
        rng: decides the draws.

    Raises:
        ValueError: ``length`` exceeds the episodes.
    """

    def __init__(self, trajectories: Trajectories, length: int, rng: np.random.Generator) -> None:
        if not 1 <= length <= trajectories.steps:
            raise ValueError(
                f"a window of {length} steps does not fit episodes of {trajectories.steps}: "
                f"choose fewer tokens or a smaller skip"
            )
        self._obs = torch.tensor(trajectories.obs)
        self._acts = torch.tensor(trajectories.acts)
        self._length, self._rng = length, rng

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """``n`` pieces: observations ``[n, length + 1, O]``, actions ``[n, length, A]``."""
        episode = torch.as_tensor(self._rng.integers(len(self._acts), size=n))[:, None]
        start = self._rng.integers(self._acts.shape[1] - self._length + 1, size=(n, 1))
        steps = torch.as_tensor(start) + torch.arange(self._length + 1)
        return self._obs[episode, steps], self._acts[episode, steps[:, :-1]]


def normal_noise(n: int, codec: Codec, count: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """``count`` draws of standard normal float32 ``[n, H, D]``, each on the codec's device when it is asked for."""
    for _ in range(count):
        drawn = rng.standard_normal((n, codec.tokens, codec.features), np.float32)
        yield torch.as_tensor(drawn, device=codec.mean.device)
