"""One reward-gradient step at the thesis' shapes, beside automatic differentiation through the whole guided chain."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.perf import Row, allowed, cost, seconds
from methods.diffuser import Diffuser, ascent
from methods.diffusion_irl import Gradient, reward_gradient
from methods.rewards import WindowReward
from methods.similarity import gaussian_mmd2
from methods.windows import normal_noise

OBS, ACTS, TOKENS, STEPS, BATCH, COMPARED = 4, 2, 128, 64, 16, 10
HIDDEN = (384, 128, 64)  # of the thesis' reward network on U-Maze
GUIDED: dict[str, Any] = {"scale": 0.1, "inner": 2, "stop": 2}
UNET: dict[str, Any] = {"network": "unet", "width": 32, "blocks": 2}  # the thesis' base network
ALLOWED, ALLOWED_UNET = 0.35, 3.0  # CPU seconds of a step; the latter a third of what the thesis' own code took
STEP = f"Reward-gradient step, {{}}, H={TOKENS}, T={STEPS}, batch {BATCH}, two guidance steps"


class GradientStep:
    """A step at the thesis' shapes: a reward learnt through every diffusion step, two guidance steps each.

    The denoiser, which computes in ``bfloat16`` or not, has the settings ``network`` and is not trained.
    """

    def __init__(self, network: Mapping[str, Any], bfloat16: bool = False, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.model = Diffuser(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, steps=STEPS, **network).to(device)
        self.reward = WindowReward(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, hidden=HIDDEN).to(device)
        noise = normal_noise(BATCH, self.model.codec, STEPS + 2, np.random.default_rng(0))
        self.target, *self.noise = noise
        self.sampling = {**GUIDED, "differentiable": STEPS, "bfloat16": bfloat16}

    def work(self) -> Callable[..., Gradient]:
        """Once for all pushes, as the method does it; the denoiser is frozen."""
        self.model.requires_grad_(False)
        return reward_gradient(self.model, self.reward, gaussian_mmd2, COMPARED, **self.sampling)

    def ours(self) -> Gradient:
        """One step."""
        return self.work()(self.target, *self.noise)

    def straight(self) -> None:
        """By automatic differentiation, the denoiser's parameters included."""
        self.model.requires_grad_(True)
        guide = ascent(self.reward.on_windows)
        sample = self.model.reverse(self.target[:, 0, :OBS], self.noise, guide, **self.sampling)
        gaussian_mmd2(*(x[:, :COMPARED].flatten(1) for x in (sample, self.target))).backward()

    def operations(self) -> float:
        """Floating-point operations of the denoiser in a step: forward, and as many back to the windows."""
        steps = torch.zeros(BATCH, dtype=torch.long, device=self.target.device)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.model.requires_grad_(True).denoised(self.target, steps)  # trainable: by the library's convolutions
        return float(2 * STEPS * counter.get_total_flops())

    def floor(self) -> float:
        """CPU seconds of the denoiser's multiplications in large matrix products."""
        square = torch.randn(1024, 1024)
        return self.operations() / float(2 * len(square) ** 3) * seconds(lambda: square @ square, 10)


def rows(steps: Mapping[str, GradientStep], limit: float, times: int) -> Iterator[Row]:
    """Steps of one network, each beside automatic differentiation and the floor of the first, and beside a limit."""
    first = next(iter(steps.values()))
    held = {
        "automatic differentiation through the chain": seconds(first.straight, times),
        "floor: the denoiser's multiplications in large matrix products": first.floor(),
    }
    for network, step in steps.items():
        name, took = STEP.format(network), seconds(step.ours, times)
        for against, reference in held.items():
            yield cost(name, took, "CPU s", reference, against)
        yield allowed(name, took, "CPU s", limit)


def measure() -> Iterator[Row]:
    """The methods' own denoiser, and the thesis' U-Net: the better of two, for the first waits for its memory."""
    yield from rows({"default base network": GradientStep({})}, ALLOWED, 3)
    unet, halved = GradientStep(UNET), GradientStep(UNET, bfloat16=True)
    yield from rows({"thesis' U-Net": unet, "thesis' U-Net in bfloat16": halved}, ALLOWED_UNET, 2)
