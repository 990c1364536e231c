"""The thesis' U-Net as a denoiser: its shapes, what it reads, its gradient, and the first state pinned through it."""

import numpy as np
import pytest
import torch

from benchmark.perf._unet import TemporalUNet
from methods.diffuser import Diffuser, ascent
from methods.windows import normal_noise


@pytest.fixture
def model() -> Diffuser:
    torch.manual_seed(0)
    made = Diffuser(obs=2, acts=1, tokens=8, skip=1, steps=3)
    made.net = TemporalUNet(3, width=8, multipliers=(1, 2, 2))  # type: ignore[assignment]
    return made


def test_a_window_keeps_its_shape_if_its_length_can_be_halved_twice() -> None:
    net = TemporalUNet(6)
    with torch.no_grad():
        for tokens in (128, 4):
            x = torch.randn(2, tokens, 6)
            assert net(x, torch.empty(2, 0), torch.tensor([0, 63])).shape == x.shape
    with pytest.raises(ValueError, match="windows of 6 tokens: this U-Net needs a multiple of 4"):
        net(torch.randn(2, 6, 6), torch.empty(2, 0), torch.tensor([0, 63]))


def test_every_token_hears_of_the_others_and_of_the_diffusion_step(model: Diffuser) -> None:
    x = torch.randn(1, 8, 3)
    reached = torch.autograd.functional.jacobian(lambda x: model.net(x, torch.empty(1, 0), torch.tensor([1]))[0], x)
    assert (reached.abs().sum((1, 2, 4)) > 0).all()  # [token out, token in]
    with torch.no_grad():
        early, late = (model.denoised(x, torch.tensor([t])) for t in (0, 2))
    assert not torch.allclose(early, late)


def test_its_gradient_is_that_of_finite_differences(model: Diffuser) -> None:
    net = model.net.double()
    x = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: net(x, torch.empty(2, 0), torch.tensor([0, 2])), x)


def test_the_first_state_stays_pinned_and_a_loss_reaches_the_reward_through_it(model: Diffuser) -> None:
    model.requires_grad_(False)
    first, weight = torch.tensor([[0.3, -1.2], [5.0, 0.0]]), torch.full((8, 3), 0.1, requires_grad=True)
    noise = normal_noise(2, model.codec, model.steps + 1, np.random.default_rng(0))
    x = model.reverse(first, noise, ascent(lambda x: (weight * x**2).sum((1, 2))), differentiable=3)
    assert torch.equal(x[:, 0, :2], first)
    (gradient,) = torch.autograd.grad(x.square().mean(), weight)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
