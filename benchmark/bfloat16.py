"""Products in bfloat16 on processors that have no instructions for them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LACKING = ("AVX2", "NO AVX", "DEFAULT")  # x86 without AVX-512, by torch.backends.cpu.get_cpu_capability()
_bmm, _linear = torch.bmm, functional.linear


def _rounded(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def bmm(a: Tensor, b: Tensor, **rest: Any) -> Tensor:
    """:func:`torch.bmm`; factors in bfloat16 are multiplied in single precision, the product is rounded to bfloat16."""
    if a.device.type != "cpu" or a.dtype != torch.bfloat16 or rest:
        return _bmm(a, b, **rest)
    return _bmm(a.float(), b.float()).bfloat16()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`torch.nn.functional.linear`; under autocast to bfloat16 as :func:`bmm`."""
    device = x.device.type
    if device != "cpu" or not torch.is_autocast_enabled(device) or torch.get_autocast_dtype(device) != torch.bfloat16:
        return _linear(x, weight, bias)
    with torch.autocast(device, enabled=False):
        return _linear(_rounded(x), _rounded(weight), None if bias is None else _rounded(bias)).bfloat16()


def emulate() -> None:
    """Has torch multiply bfloat16 in single precision, with the same rounding, where the processor cannot.

    Torch's own way there took 29 times (128 x 128) to 50 times (256 x 256) as long as single precision on an AVX2
    processor, and with it every method of the soft actor-critic. Sums come in another order, as between processors.
    """
    if torch.backends.cpu.get_cpu_capability() in LACKING:
        torch.bmm, functional.linear = bmm, linear  # type: ignore[assignment]
