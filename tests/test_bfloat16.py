"""Products in bfloat16 in single precision: what torch itself gives, but for the order of sums."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark import bfloat16

NATIVE = torch.bmm, functional.linear
ULP = 2.0**-7  # of bfloat16: between two neighbours, relative


def autocast(x: Tensor, w: Tensor) -> Tensor:
    layer = nn.Linear(*w[0].shape)
    layer.weight, layer.bias = nn.Parameter(w[0]), nn.Parameter(w[1, 0, : w.shape[1]].detach())
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x[0])


def batched(x: Tensor, w: Tensor) -> Tensor:
    return torch.bmm(x.bfloat16(), w.bfloat16())


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "bmm", torch.bmm)  # put back afterwards
    monkeypatch.setattr(functional, "linear", functional.linear)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    bfloat16.emulate()


def outcome(product: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """The product and the gradients of its square's sum."""
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(2, 64, 48, generator=generator), torch.randn(2, 48, 48, generator=generator)
    x.requires_grad_()
    found = product(x, w.requires_grad_())
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    assert x.grad is not None
    return [found.float(), x.grad]


@pytest.mark.parametrize("product", [autocast, batched])
def test_products_and_gradients_are_those_of_torch(
    product: Callable[[Tensor, Tensor], Tensor], request: pytest.FixtureRequest
) -> None:
    there = outcome(product)
    request.getfixturevalue("emulated")
    assert torch.bmm is bfloat16.bmm
    for ours, theirs in zip(outcome(product), there, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2 * ULP, atol=ULP * float(theirs.detach().abs().max()))
        assert (ours == theirs).float().mean() > 0.9


def test_single_precision_stays_as_it_is(emulated: None) -> None:
    x, w = torch.randn(2, 5, 4), torch.randn(2, 4, 3)
    assert torch.equal(torch.bmm(x, w), NATIVE[0](x, w))
    assert torch.equal(functional.linear(x[0], w[0].T), NATIVE[1](x[0], w[0].T))


def test_processors_that_can_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch, "bmm", NATIVE[0])
    bfloat16.emulate()
    assert torch.bmm is NATIVE[0]
