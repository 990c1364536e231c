"""The thesis' U-Net: its shapes, what it reads, its layers against the library's, its gradient, and its training."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from methods.diffuser import Diffuser, ascent
from methods.fast_layers import Mish, TimeConv
from methods.unet import TemporalUNet
from methods.windows import normal_noise


@pytest.fixture
def model() -> Diffuser:
    torch.manual_seed(0)
    return Diffuser(obs=2, acts=1, tokens=8, skip=1, steps=3, width=8, blocks=1, network="unet")


def test_windows_of_every_length_keep_their_shape_and_short_ones_are_continued_with_zeros() -> None:
    net, t = TemporalUNet(6, extra=2, width=8, blocks=2).requires_grad_(False), torch.tensor([0, 63])
    for tokens in (1, 4, 6, 128):
        x, extra = torch.randn(2, tokens, 6), torch.randn(2, tokens, 2)
        made = net(x, extra, t)
        longer = (functional.pad(given, (0, 0, 0, -tokens % 4)) for given in (x, extra))
        assert made.shape == x.shape and torch.equal(made, net(*longer, t)[:, :tokens])
    with pytest.raises(ValueError, match="width = 12: a U-Net normalises channels in 8 groups"):
        TemporalUNet(6, extra=0, width=12, blocks=2)


def test_every_token_hears_of_the_others_of_the_diffusion_step_and_of_waves(model: Diffuser) -> None:
    x, t = torch.randn(1, 8, 3), torch.tensor([1])
    reached = torch.autograd.functional.jacobian(lambda x: model.net(x, torch.empty(1, 8, 0), t)[0], x)
    assert (reached.abs().sum((1, 2, 4)) > 0).all()  # [token out, token in]
    with torch.no_grad():
        early, late = (model.denoised(x, torch.tensor([t])) for t in (0, 2))
    assert not torch.allclose(early, late)
    waving = Diffuser(obs=2, acts=1, tokens=8, skip=1, steps=3, width=8, blocks=1, octaves=2, network="unet")
    assert waving.denoised(x, t).shape == x.shape and waving.net.down[0][0].first.conv.in_channels == 3 + 2 * 2 * 2


@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_frozen_convolution_is_the_librarys_to_second_order(length: int) -> None:
    torch.manual_seed(0)
    conv, x = TimeConv(3, 2).double(), torch.randn(2, length, 3, dtype=torch.float64, requires_grad=True)
    theirs = conv(x)
    conv.requires_grad_(False)
    assert type(conv(x).grad_fn).__name__ == "_WinogradBackward"
    assert torch.allclose(conv(x), theirs, atol=1e-12)
    assert torch.autograd.gradcheck(conv, x) and torch.autograd.gradgradcheck(conv, x)


def test_a_frozen_convolution_follows_its_weights() -> None:
    conv, x = TimeConv(32, 32).requires_grad_(False), torch.randn(2, 16, 32)
    before = conv(x)
    conv.load_state_dict({name: 2 * value for name, value in conv.state_dict().items()})
    assert torch.allclose(conv(x), 2 * before, atol=1e-4)
    conv.weight.data = conv.weight.data / 2  # as a move to another device does it
    conv.bias.data = conv.bias.data / 2
    assert torch.allclose(conv(x), before, atol=1e-4)


def test_mish_and_its_slope_are_the_librarys() -> None:
    x = torch.tensor([-200.0, -20.0, -3.0, -1e-4, 0.0, 0.5, 4.0, 30.0, 200.0], requires_grad=True)
    ours, theirs = Mish()(x), functional.mish(x.double())
    assert torch.allclose(ours.double(), theirs, atol=1e-6)
    slopes = (torch.autograd.grad(made.sum(), x)[0] for made in (ours, theirs))
    assert torch.allclose(*slopes, atol=1e-6)


def test_mish_and_its_slope_in_bfloat16_are_rounded_once() -> None:
    x = torch.linspace(-20, 20, 401).bfloat16().requires_grad_()
    ours, exact = Mish()(x), functional.mish(whole := x.detach().double().requires_grad_())
    torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-6)
    (slope,), (right,) = torch.autograd.grad(ours.sum(), x), torch.autograd.grad(exact.sum(), whole)
    assert slope.dtype == torch.bfloat16
    torch.testing.assert_close(slope.double(), right, rtol=2**-8, atol=1e-6)


def test_its_gradient_is_that_of_finite_differences(model: Diffuser) -> None:
    net = model.net.double().requires_grad_(False)
    x, extra = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True), torch.empty(2, 8, 0)
    assert torch.autograd.gradcheck(lambda x: net(x, extra, torch.tensor([0, 2])), x)


def test_the_first_state_stays_pinned_and_a_loss_reaches_the_reward_through_the_chain(model: Diffuser) -> None:
    """The guide is itself a gradient, so that what reaches the reward is a derivative of second order."""
    model = model.double().requires_grad_(False)
    first = torch.tensor([[0.3, -1.2], [5.0, 0.0]], dtype=torch.float64)
    weight = torch.full((8, 3), 0.1, dtype=torch.float64, requires_grad=True)
    noise = [x.double() for x in normal_noise(2, model.codec, model.steps + 1, np.random.default_rng(0))]

    def loss(weight: torch.Tensor) -> torch.Tensor:
        x = model.reverse(first, noise, ascent(lambda x: (weight * x**2).sum((1, 2))), differentiable=3)
        assert torch.equal(x[:, 0, :2], first)
        return x.square().mean()

    assert torch.autograd.gradcheck(loss, weight)


def test_training_lowers_its_loss() -> None:
    """Windows that stand still: all of them follows from the pinned state."""
    torch.manual_seed(0)
    model = Diffuser(obs=2, acts=1, tokens=8, skip=1, steps=3, width=32, blocks=1, network="unet")
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    x0, rng = torch.randn(16, 1, 1).expand(16, 8, 3), np.random.default_rng(0)
    losses = [model.descend(x0, optimiser, schedule, rng) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])
