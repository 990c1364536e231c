"""One reward-gradient step at the thesis' shapes, beside automatic differentiation through the whole guided chain."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.perf import Row, allowed, seconds
from methods.diffuser import Diffuser, Guide, ascent
from methods.diffusion_irl import Pushes
from methods.rewards import WindowReward
from methods.similarity import SIMILARITIES
from methods.windows import normal_noise

OBS, ACTS, TOKENS, STEPS, BATCH, COMPARED = 4, 2, 128, 64, 16, 10
HIDDEN = (384, 128, 64)  # of the thesis' reward network on U-Maze
UNET: dict[str, Any] = {"network": "unet", "width": 32, "blocks": 2}  # the thesis' base network
ALLOWED, ALLOWED_UNET = 0.35, 3.0  # CPU seconds of a step; the latter a third of what the thesis' own code took


class GradientStep:
    """A step at the thesis' shapes: a reward learnt through every diffusion step, two guidance steps each.

    Args:
        network: settings of the denoiser, not trained.
        bfloat16: whether it computes in that.
    """

    def __init__(self, network: Mapping[str, Any], bfloat16: bool = False) -> None:
        self.model = Diffuser(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, steps=STEPS, **network)
        self.reward = WindowReward(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, hidden=HIDDEN)
        self.first, self.target = torch.randn(BATCH, OBS), torch.randn(BATCH, COMPARED * self.model.codec.features)
        self.bfloat16 = bfloat16

    def loss(self, guide: Guide) -> torch.Tensor:
        """MMD of the samples to the target."""
        noise = normal_noise(BATCH, self.model.codec, STEPS + 1, np.random.default_rng(0))
        sample = self.model.reverse(
            self.first, noise, guide, scale=0.1, inner=2, stop=2, differentiable=STEPS, bfloat16=self.bfloat16
        )
        return SIMILARITIES["mmd-gaussian"](sample[:, :COMPARED].flatten(1), self.target)

    def ours(self) -> None:
        """Once for all pushes, as the method does it; the denoiser is frozen."""
        self.model.requires_grad_(False)
        pushes = Pushes(self.reward)
        pushes.backward(self.loss(pushes))

    def straight(self) -> None:
        """By automatic differentiation, the denoiser's parameters included."""
        self.model.requires_grad_(True)
        self.loss(ascent(self.reward.on_windows)).backward()

    def floor(self) -> float:
        """CPU seconds of the denoiser's multiplications, forward and back to the window, in large matrix products."""
        noised, square = torch.randn(BATCH, TOKENS, OBS + ACTS), torch.randn(1024, 1024)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.model.denoised(noised, torch.zeros(BATCH, dtype=torch.long))
        products = 2 * STEPS * counter.get_total_flops() / (2 * len(square) ** 3)
        return float(products * seconds(lambda: square @ square, 10))


def rows(steps: Mapping[str, GradientStep], limit: float, times: int) -> Iterator[Row]:
    """Steps of one network, each beside automatic differentiation and the floor of the first, and beside a limit."""
    first = next(iter(steps.values()))
    held = {
        "automatic differentiation through the chain": seconds(first.straight, times),
        "floor: the denoiser's multiplications in large matrix products": first.floor(),
    }
    for network, step in steps.items():
        name = f"Reward-gradient step, {network}, H={TOKENS}, T={STEPS}, batch {BATCH}, two guidance steps"
        ours = seconds(step.ours, times)
        for against, reference in held.items():
            yield Row(name=name, ours=ours, unit="CPU s", reference=reference, against=against, better=-1)
        yield allowed(name, ours, "CPU s", limit)


def measure() -> Iterator[Row]:
    """The methods' own denoiser, and the thesis' U-Net: timed once each, for it takes long."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield from rows({"default base network": GradientStep({})}, ALLOWED, 3)
    unet, halved = GradientStep(UNET), GradientStep(UNET, bfloat16=True)
    yield from rows({"thesis' U-Net": unet, "thesis' U-Net in bfloat16": halved}, ALLOWED_UNET, 1)
