"""The temporal U-Net of the thesis as a denoiser, to time it: the methods' own is a perceptron."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

KERNEL, GROUPS = 5, 8


class Residual(nn.Module):
    """Two convolutions along time, each normalised; the diffusion step is added between them."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.Conv1d(width, outputs, KERNEL, padding=KERNEL // 2), nn.GroupNorm(GROUPS, outputs), nn.Mish()
            )
            for width in (inputs, outputs)
        )
        self.told = nn.Sequential(nn.Mish(), nn.Linear(told, outputs))
        self.past = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        h: Tensor = self.second(self.first(x) + self.told(when)[..., None])
        past: Tensor = self.past(x)
        return h + past


class TemporalUNet(nn.Module):
    """Denoiser by convolutions along time, with skips between equal lengths (Janner et al. 2022, appendix C).

    Takes the place of :class:`methods.diffuser.ResidualMLP` in a diffuser without octaves.

    Args:
        features: D of a token.
        width: channels of the finest level, a multiple of 8.
        multipliers: channels of each level, in widths; each level but the last halves the length.
    """

    def __init__(self, features: int, width: int = 32, multipliers: tuple[int, ...] = (1, 4, 8)) -> None:
        super().__init__()
        levels = list(pairwise([features, *(width * k for k in multipliers)]))
        self.halvings, self.width = len(levels) - 1, width
        self.when = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        deepest = levels[-1][1]
        self.down = nn.ModuleList(self._level(a, b) for a, b in levels)
        self.shorter = nn.ModuleList(nn.Conv1d(b, b, 3, stride=2, padding=1) for _, b in levels[:-1])
        self.middle = self._level(deepest, deepest)
        self.up = nn.ModuleList(self._level(2 * b, a) for a, b in reversed(levels[1:]))
        self.longer = nn.ModuleList(nn.ConvTranspose1d(a, a, 4, stride=2, padding=1) for a, _ in reversed(levels[1:]))
        self.outlet = nn.Sequential(
            nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2),
            nn.GroupNorm(GROUPS, width),
            nn.Mish(),
            nn.Conv1d(width, features, 1),
        )

    def _level(self, inputs: int, outputs: int) -> nn.ModuleList:
        return nn.ModuleList([Residual(inputs, outputs, self.width), Residual(outputs, outputs, self.width)])

    def forward(self, x: Tensor, extra: Tensor, t: Tensor) -> Tensor:
        """The clean windows ``[n, H, D]`` from noised ones at steps ``t`` [n]; ``extra`` is empty.

        Raises:
            ValueError: H cannot be halved as often as there are levels.
        """
        if x.shape[1] % 2**self.halvings:
            raise ValueError(f"windows of {x.shape[1]} tokens: this U-Net needs a multiple of {2**self.halvings}")
        half = self.width // 2
        angles = t[:, None] * torch.exp(torch.arange(half, device=x.device) * (-math.log(1e4) / (half - 1)))
        when = self.when(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype))
        h, skips = x.transpose(1, 2), []
        for k, level in enumerate(self.down):
            h = self._through(level, h, when)
            skips.append(h)
            if k < self.halvings:
                h = self.shorter[k](h)
        h = self._through(self.middle, h, when)
        for level, longer in zip(self.up, self.longer, strict=True):
            h = longer(self._through(level, torch.cat([h, skips.pop()], 1), when))
        clean: Tensor = self.outlet(h)
        return clean.transpose(1, 2)

    @staticmethod
    def _through(level: nn.Module, h: Tensor, when: Tensor) -> Tensor:
        for block in level.children():
            h = block(h, when)
        return h
