"""Layers of the U-Net that cost least where weights are frozen, one thread multiplies and gradients go to the input.

Windows have time before channels here, ``[n, L, C]``: then a convolution is matrix products of long rows.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

TAPS, TILE = 5, 4  # of the kernel; outputs that one tile gives from TILE + TAPS - 1 inputs
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)  # one less than inputs of a tile: the last point is infinity


def plain(x: Tensor) -> bool:
    """Whether arithmetic is single or double precision on a processor, which the library's kernels leave idle."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


@cache
def _transforms(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices of input ``[8, 8]``, output ``[4, 8]`` and kernel ``[8, 5]``: y = out @ ((kernel @ g) * (input @ x))."""
    size = TILE + TAPS - 1
    points = torch.tensor(POINTS, dtype=torch.float64)[:, None]

    def powers(count: int) -> Tensor:  # a polynomial of so many coefficients at each point
        infinity = torch.zeros(1, count, dtype=torch.float64)
        infinity[0, -1] = 1
        return torch.cat([points ** torch.arange(count), infinity])

    return torch.linalg.inv(powers(size)).T.to(dtype), powers(TILE).T.to(dtype), powers(TAPS).to(dtype)


class _Winograd(torch.autograd.Function):
    """Windows ``[n, L, C]`` by a transformed kernel ``[8, C, O]``, plus a bias ``[O]`` if given.

    ``back`` is the transformed kernel of the gradient, ``[8, O, C]``. Kernels and bias get none.
    """

    @staticmethod
    def forward(x: Tensor, there: Tensor, back: Tensor, bias: Tensor | None) -> Tensor:
        into, out, _ = _transforms(x.dtype)
        n, length, channels = x.shape
        tiles, size, margin = -(-length // TILE), len(there), TAPS // 2
        whole = functional.pad(x, (0, 0, 0, tiles * TILE - length))
        inside = whole.view(n, tiles, TILE, channels).permute(2, 0, 1, 3)
        seen = x.new_zeros(size, n, tiles, channels)  # by position in the tile; a tile reaches into both neighbours
        seen[:margin, :, 1:] = inside[-margin:, :, :-1]
        seen[margin:-margin] = inside
        seen[-margin:, :, :-1] = inside[:margin, :, 1:]
        products = torch.bmm((into @ seen.flatten(1)).view(size, n * tiles, channels), there)
        if bias is not None:
            products[POINTS.index(1.0)] += bias  # whose powers are all one: every output of the tile gets it once
        made = (out @ products.flatten(1)).view(TILE, n, tiles, -1).permute(1, 2, 0, 3)
        return made.reshape(n, tiles * TILE, -1)[:, :length]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        there, back = ctx.saved_tensors
        pulled: Tensor = _Winograd.apply(gradients[0], back, there, None)  # type: ignore[no-untyped-call]
        return pulled, None, None, None


class TimeConv(nn.Conv1d):
    """Convolution of five taps along time, ``[n, L, C]`` to ``[n, L, O]``, zeros beyond both ends.

    With frozen weights by Winograd's minimal filtering F(4, 5), 8 multiplications in place of 20 (Lavin & Gray 2016,
    section 4.1): its error is some 1e-6 of the largest output.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, TAPS, padding=TAPS // 2)
        self._known: tuple[tuple[int, int], tuple[Tensor, Tensor]] | None = None

    def _kernels(self) -> tuple[Tensor, Tensor]:
        """The transformed kernel there and back, kept until the weights change."""
        state = self.weight._version, self.weight.data_ptr()
        if self._known is None or self._known[0] != state:
            by_tap = self.weight.detach().permute(2, 1, 0)
            kernel = _transforms(by_tap.dtype)[2]
            there, back = ((kernel @ taps.flatten(1)).view(-1, *taps.shape[1:]) for taps in (by_tap, by_tap.flip(0).mT))
            self._known = state, (there, back)
        return self._known[1]

    def forward(self, x: Tensor) -> Tensor:
        if not plain(x) or any(p.requires_grad for p in self.parameters()):
            return super().forward(x.mT).mT
        filtered: Tensor = _Winograd.apply(x, *self._kernels(), self.bias)  # type: ignore[no-untyped-call]
        return filtered


class _Mish(torch.autograd.Function):
    """x tanh(softplus(x)) and its slope by one sigmoid: with s = sigmoid(-x), tanh(softplus(x)) = 2 / (1 + s²) - 1.

    In single precision where x has less: a reward-gradient step through the U-Net in bfloat16 takes 0.67 of what it
    takes with the library's slope, which is not vectorised there, and errs as much.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kind, x = x.dtype, x.float() if x.element_size() < 4 else x
        negative = -x
        s = negative.sigmoid()
        r = torch.addcmul(torch.ones_like(s[..., :1]), s, s).reciprocal_()
        if ctx.needs_input_grad[0]:  # 2 r - 1 + 4 x (1 - s) r (1 - r)
            bend = torch.addcmul(r, r, r, value=-1)
            bend = torch.addcmul(bend, bend, s, value=-1)
            ctx.save_for_backward((2 * r).sub_(1).addcmul_(x, bend, value=4).to(kind))
        return torch.addcmul(negative, x, r, value=2).to(kind)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return gradients[0] * slope


class Mish(nn.Module):
    """Mish (Misra 2020), elementwise."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return functional.mish(x)
        made: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]
        return made
