"""The denoiser of the thesis: convolutions along time, with skips between equal lengths."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.fast_layers import Mish, TimeConv

GROUPS, MULTIPLIERS = 8, (1, 4, 8)  # of normalised channels; channels of each level, in widths


class Filtered(nn.Module):
    """A convolution, its channels normalised in groups, Mish: windows ``[n, L, C]`` to ``[n, L, O]``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.norm, self.mish = TimeConv(inputs, outputs), nn.GroupNorm(GROUPS, outputs), Mish()

    def forward(self, x: Tensor) -> Tensor:
        picture = self.conv(x)[:, :, None].permute(0, 3, 1, 2)  # [n, O, L, 1], whose layout the library knows
        made: Tensor = self.mish(self.norm(picture).permute(0, 2, 3, 1)[:, :, 0])
        return made


class Residual(nn.Module):
    """Two convolutions; the diffusion step is added between them."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.first, self.second = Filtered(inputs, outputs), Filtered(outputs, outputs)
        self.told = nn.Sequential(nn.Mish(), nn.Linear(told, outputs))
        self.past = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, when: Tensor) -> Tensor:
        h: Tensor = self.second(self.first(x) + self.told(when)[:, None])
        past: Tensor = self.past(x)
        return h + past


class TemporalUNet(nn.Module):
    """Denoiser by convolutions along time (Janner et al. 2022, appendix C).

    Each level but the last halves the length; windows that cannot be halved so often are continued with zeros, and what
    is made there is cut off.

    Args:
        features: D of a token.
        extra: width of what it reads beside each token.
        width: channels of the finest level, a multiple of 8.
        blocks: residual blocks per level.

    Raises:
        ValueError: the width is no multiple of 8.
    """

    def __init__(self, features: int, extra: int, width: int, blocks: int) -> None:
        super().__init__()
        if width % GROUPS:
            raise ValueError(f"width = {width}: a U-Net normalises channels in {GROUPS} groups, choose a multiple")
        levels = list(pairwise([features + extra, *(width * k for k in MULTIPLIERS)]))
        self.halvings, self.width, self.blocks = len(levels) - 1, width, blocks
        self.when = nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))
        deepest = levels[-1][1]
        self.down = nn.ModuleList(self._level(a, b) for a, b in levels)
        self.shorter = nn.ModuleList(nn.Conv1d(b, b, 3, stride=2, padding=1) for _, b in levels[:-1])
        self.middle = self._level(deepest, deepest)
        self.up = nn.ModuleList(self._level(2 * b, a) for a, b in reversed(levels[1:]))
        self.longer = nn.ModuleList(nn.ConvTranspose1d(a, a, 4, stride=2, padding=1) for a, _ in reversed(levels[1:]))
        self.outlet = nn.Sequential(Filtered(width, width), nn.Linear(width, features))

    def _level(self, inputs: int, outputs: int) -> nn.ModuleList:
        widths = pairwise([inputs] + [outputs] * self.blocks)
        return nn.ModuleList(Residual(a, b, self.width) for a, b in widths)

    def forward(self, x: Tensor, extra: Tensor, t: Tensor) -> Tensor:
        """The clean windows ``[n, H, D]`` from noised ones and ``[n, H, extra]`` at steps ``t`` [n]."""
        half = self.width // 2
        angles = t[:, None] * torch.exp(torch.arange(half, device=x.device) * (-math.log(1e4) / (half - 1)))
        when = self.when(torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype))
        h = functional.pad(torch.cat([x, extra], -1), (0, 0, 0, -x.shape[1] % 2**self.halvings))
        skips = []
        for k, level in enumerate(self.down):
            h = self._through(level, h, when)
            skips.append(h)
            if k < self.halvings:
                h = self.shorter[k](h.mT).mT
        h = self._through(self.middle, h, when)
        for level, longer in zip(self.up, self.longer, strict=True):
            h = longer(self._through(level, torch.cat([h, skips.pop()], -1), when).mT).mT
        clean: Tensor = self.outlet(h)
        return clean[:, : x.shape[1]]

    @staticmethod
    def _through(level: nn.Module, h: Tensor, when: Tensor) -> Tensor:
        for block in level.children():
            h = block(h, when)
        return h
