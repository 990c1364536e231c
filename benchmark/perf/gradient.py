"""One reward-gradient step at the thesis' shapes, beside automatic differentiation through the whole guided chain."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmark.perf import Row, allowed, seconds
from methods.diffuser import Diffuser, Guide, ascent
from methods.diffusion_irl import Pushes
from methods.rewards import WindowReward
from methods.similarity import SIMILARITIES
from methods.windows import normal_noise

OBS, ACTS, TOKENS, STEPS, BATCH, COMPARED = 4, 2, 128, 64, 16, 10
HIDDEN = (384, 128, 64)  # of the thesis' reward network on U-Maze
ALLOWED = 0.35  # CPU seconds of a step with the default base network


def measure() -> Iterator[Row]:
    """Reward learnt through every diffusion step, two guidance steps each; the default base network, not trained."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Diffuser(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, steps=STEPS)
    reward = WindowReward(obs=OBS, acts=ACTS, tokens=TOKENS, skip=1, hidden=HIDDEN)
    first, target = torch.randn(BATCH, OBS), torch.randn(BATCH, COMPARED * model.codec.features)

    def loss(guide: Guide) -> torch.Tensor:
        noise = normal_noise(BATCH, model.codec, STEPS + 1, np.random.default_rng(0))
        sample = model.reverse(first, noise, guide, scale=0.1, inner=2, stop=2, differentiable=STEPS)
        return SIMILARITIES["mmd-gaussian"](sample[:, :COMPARED].flatten(1), target)

    def ours() -> None:
        pushes = Pushes(reward)
        pushes.backward(loss(pushes))

    autograd = seconds(lambda: loss(ascent(reward.on_windows)).backward())  # the base model's parameters included
    model.requires_grad_(False)
    name = f"Reward-gradient step, H={TOKENS}, T={STEPS}, batch {BATCH}, two guidance steps"
    step, against = seconds(ours), "automatic differentiation through the chain"
    yield Row(name=name, ours=step, unit="CPU s", reference=autograd, against=against, better=-1)
    yield allowed(name, step, "CPU s", ALLOWED)
