"""The diffusion model of windows: schedule, network, and the reverse process, guided or not."""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Part
from methods.divergence import descend
from methods.policies import waves
from methods.unet import TemporalUNet
from methods.windows import Codec

Network = Literal["mlp", "unet"]
Worth = Callable[[Tensor], Tensor]  # normalised windows [n, H, D] -> reward of each [n]
Guide = Callable[[Tensor], Tensor]  # normalised windows [n, H, D] -> gradient of their rewards [n, H, D]
Watch = Callable[[int, Tensor], None]  # diffusion steps left, normalised windows [n, H, D] there


def cosine_alpha_bars(steps: int) -> Tensor:
    """Cumulative signal share of the cosine schedule.

    Args:
        steps: diffusion steps T, >= 1.

    Returns:
        float32 ``[T]``, falling; Nichol & Dhariwal 2021, eq. 17 with betas limited to 0.999.
    """
    t = torch.linspace(0, steps, steps + 1, dtype=torch.float64)
    bars = torch.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - bars[1:] / bars[:-1]).clamp(max=0.999)
    return torch.cumprod(1 - betas, 0).float()


class ResidualMLP(nn.Module):
    """Denoiser on the flattened window: residual blocks, each told the diffusion step by an embedding.

    ``size`` is that of a window, ``extra`` of what it reads beside it.
    """

    def __init__(self, size: int, extra: int, steps: int, width: int, blocks: int) -> None:
        super().__init__()
        self.inlet = nn.Linear(size + extra, width)
        self.when = nn.Embedding(steps, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.outlet = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, x: Tensor, extra: Tensor, t: Tensor) -> Tensor:
        when = self.when(t)
        h = self.inlet(torch.cat([x.flatten(1), extra.flatten(1)], 1)) + when
        for block in self.blocks:
            h = h + block(h + when)
        clean: Tensor = self.outlet(h)
        return clean.view_as(x)


class Diffuser(Part):
    """Denoising diffusion over windows, predicting the clean window x0 (Ho et al. 2020; Janner et al. 2022).

    The first observation of a window is known and pinned at every diffusion step, in training and in sampling.

    Args:
        obs, acts: widths of observation and action.
        tokens: H, tokens per window.
        skip: environment steps per token.
        steps: T, diffusion steps.
        network: the denoiser, ``mlp`` (:class:`ResidualMLP`) or ``unet`` (:class:`methods.unet.TemporalUNet`).
        width, blocks: of the denoiser; a U-Net has so many blocks at each level.
        octaves: the denoiser also reads :func:`methods.policies.waves` of every absolute observation, so that it tells
            the two sides of a wall apart; 0 for none.
        relative: see :class:`methods.windows.Codec`.
    """

    bars: Tensor

    def __init__(
        self,
        obs: int,
        acts: int,
        tokens: int,
        skip: int,
        steps: int,
        width: int = 384,
        blocks: int = 3,
        octaves: int = 0,
        relative: bool = False,
        network: Network = "mlp",
    ) -> None:
        window = {"obs": obs, "acts": acts, "tokens": tokens, "skip": skip, "steps": steps, "width": width}
        super().__init__(**window, blocks=blocks, octaves=octaves, relative=relative, network=network)
        self.steps, self.octaves = steps, octaves
        self.codec = Codec(obs, acts, tokens, skip, relative)
        features, extra = self.codec.features, 2 * obs * octaves  # of a token, and beside it
        self.net = (
            TemporalUNet(features, extra, width, blocks)
            if network == "unet"
            else ResidualMLP(tokens * features, tokens * extra, steps, width, blocks)
        )
        self.register_buffer("bars", cosine_alpha_bars(steps), persistent=False)
        self._bars: list[float] = self.bars.tolist()  # numbers: read at every step, without waiting for an accelerator

    def denoised(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's estimate of clean windows ``[n, H, D]``, from noised, pinned ones at steps ``t`` [n or 1]."""
        beside = x[..., :0]  # nothing
        if self.octaves:
            beside = waves(self.codec.first(self.codec.decode(x)[0]), self.octaves)
        clean: Tensor = self.net(x, beside, t)
        return clean

    @torch.no_grad()
    def follow(self, other: "Diffuser", keep: float) -> None:
        """Moves the weights towards another model's: an exponential moving average that keeps the share ``keep``."""
        for mine, theirs in zip(self.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, 1 - keep)

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """q(x_t | x_0): sqrt(bar_t) x0 + sqrt(1 - bar_t) noise, before pinning (Ho et al. 2020, eq. 4)."""
        bar = self.bars[t].view(-1, 1, 1)
        return bar.sqrt() * x0 + (1 - bar).sqrt() * noise

    def loss(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of the predicted clean window (Ho et al. 2020, eq. 14, for x0 in place of the noise)."""
        first = x0[:, 0, : self.codec.obs]
        return (self.denoised(self.codec.pin(self.noised(x0, t, noise), first), t) - x0).square().mean()

    def descend(
        self,
        x0: Tensor,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        rng: np.random.Generator,
        half: bool = False,
    ) -> float:
        """One update on clean windows ``[n, H, D]``, each noised to a diffusion step of its own; returns the loss.

        ``half`` multiplies in bfloat16.
        """
        t = torch.as_tensor(rng.integers(self.steps, size=len(x0)), device=x0.device)
        noise = torch.as_tensor(rng.standard_normal(x0.shape, np.float32), device=x0.device)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=half):
            loss = self.loss(x0, t, noise)
        return descend(loss, optimiser, schedule)

    def posterior_mean(self, x0: Tensor, x: Tensor, t: int) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7); t counts from 0, where it is x_0."""
        bar, before = self._bars[t], self._bars[t - 1] if t > 0 else 1.0
        alpha = bar / before
        return math.sqrt(before) * (1 - alpha) / (1 - bar) * x0 + math.sqrt(alpha) * (1 - before) / (1 - bar) * x

    def variance(self, t: int) -> float:
        """Variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7); 0 at t = 0."""
        if t == 0:
            return 0.0
        bar, before = self._bars[t], self._bars[t - 1]
        return (1 - bar / before) * (1 - before) / (1 - bar)

    def reverse(
        self,
        first: Tensor,
        noise: Iterable[Tensor],
        guide: Guide | None = None,
        scale: float = 1.0,
        inner: int = 2,
        stop: int = 0,
        temperature: float = 1.0,
        differentiable: int = 0,
        bfloat16: bool = False,
        watch: Watch | None = None,
    ) -> Tensor:
        """Samples windows by the reverse process.

        At each step the guide moves x by ``inner`` steps of ``scale * var_t * grad R(x)``, pinned each time, then the
        posterior is sampled. The last step has no variance and hence no guidance. Source: Janner et al. 2022, algorithm
        1, which shifts the posterior's mean; moving x before the mean is taken is what their code and the thesis do.

        Args:
            first: ``[n, O]``, normalised first observations.
            noise: T + 1 standard normal ``[n, H, D]``: the start, then one per step.
            guide: gradient of the reward of normalised windows; None samples unguided.
            scale: step size of the guidance, > 0.
            inner: guidance steps per diffusion step.
            stop: no guidance at diffusion steps t < stop.
            temperature: factor on the noise of every step.
            differentiable: the last so many diffusion steps keep the graph, so that a loss on the result reaches the
                guide's parameters; 0 for none, T for the full chain.
            bfloat16: whether the denoiser computes in bfloat16.
            watch: is shown every state of the chain, from noise (T steps left) to the result (none left).

        Returns:
            ``[n, H, D]``, normalised.
        """
        draws = iter(noise)
        x = self.codec.pin(next(draws), first)
        for t in reversed(range(self.steps)):
            if watch is not None:
                watch(t + 1, x)
            keep = t < differentiable
            variance = self.variance(t)
            with torch.set_grad_enabled(keep):
                if guide is not None and variance > 0 and t >= stop:
                    for _ in range(inner):
                        x = self.codec.pin(x + scale * variance * guide(x), first)
                with torch.autocast(x.device.type, torch.bfloat16, bfloat16):
                    x0 = self.denoised(x, torch.full((1,), t, device=x.device))
                mean = self.posterior_mean(x0.to(x.dtype), x, t)
                x = self.codec.pin(mean + temperature * math.sqrt(variance) * next(draws), first)
        if watch is not None:
            watch(0, x)
        return x


def ascent(worth: Worth) -> Guide:
    """Guide of any differentiable reward: its gradient, differentiable in turn where gradients are enabled."""

    def gradient(x: Tensor) -> Tensor:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            at = x if keep and x.requires_grad else x.detach().requires_grad_()
            found = worth(at)
            return torch.autograd.grad(found, at, torch.ones_like(found), create_graph=keep)[0]

    return gradient
