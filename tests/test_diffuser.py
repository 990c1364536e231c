"""The diffusion model against closed forms."""

import math

import numpy as np
import pytest
import torch

from envs.problem import Trajectories
from methods.diffuser import Diffuser, ascent, cosine_alpha_bars
from methods.diffusion_irl import DiffusionIRL, Pushes
from methods.planner import Planning
from methods.rewards import StepReward, WindowReward
from methods.windows import Codec, WindowSampler, normal_noise


@pytest.fixture
def tiny() -> Diffuser:
    torch.manual_seed(0)
    return Diffuser(obs=2, acts=1, tokens=3, skip=2, steps=5, width=16, blocks=1).requires_grad_(False)


def draws(model: Diffuser, n: int) -> torch.Tensor:
    return torch.stack(list(normal_noise(n, model.codec, model.steps + 1, np.random.default_rng(0))))


def test_schedule_falls_from_signal_to_noise() -> None:
    bars = cosine_alpha_bars(64)
    assert (bars.diff() < 0).all()
    assert bars[0] > 0.99
    assert bars[-1] < 1e-3


def test_noising_has_the_variance_of_the_schedule(tiny: Diffuser) -> None:
    x0, noise = torch.full((20_000, 3, 4), 2.0), torch.randn(20_000, 3, 4)
    for t in range(5):
        x = tiny.noised(x0, torch.full((20_000,), t), noise)
        assert x.mean().item() == pytest.approx(2 * math.sqrt(tiny.bars[t]), abs=0.02)
        assert x.var().item() == pytest.approx(1 - float(tiny.bars[t]), rel=0.02, abs=1e-4)


def test_posterior_is_the_product_of_two_gaussians(tiny: Diffuser) -> None:
    """q(x_{t-1} | x_t, x_0) from Bayes' rule: precisions add, means weigh by precision."""
    x0, x = torch.tensor([[[0.7]]]), torch.tensor([[[-0.4]]])
    for t in range(1, 5):
        bar, before = float(tiny.bars[t]), float(tiny.bars[t - 1])
        alpha = bar / before
        prior, likelihood = 1 / (1 - before), alpha / (1 - alpha)
        mean = (prior * math.sqrt(before) * 0.7 + likelihood * (-0.4) / math.sqrt(alpha)) / (prior + likelihood)
        assert tiny.variance(t) == pytest.approx(1 / (prior + likelihood), rel=1e-4)
        assert tiny.posterior_mean(x0, x, t).item() == pytest.approx(mean, rel=1e-4)
    assert tiny.posterior_mean(x0, x, 0).item() == pytest.approx(0.7, rel=1e-5)


def test_first_observation_stays_pinned_through_guided_sampling(tiny: Diffuser) -> None:
    first = torch.tensor([[0.3, -1.2], [5.0, 0.0]])
    noise = draws(tiny, 2)
    x = tiny.reverse(first, noise, ascent(lambda w: w.sum((1, 2))), scale=3.0)
    assert torch.equal(x[:, 0, :2], first)


def test_guidance_moves_samples_along_the_gradient(tiny: Diffuser) -> None:
    noise = draws(tiny, 16)
    first = torch.zeros(16, 2)

    def toward(x: torch.Tensor) -> torch.Tensor:
        return -((x[:, 1:] - 1) ** 2).sum((1, 2))

    plain, guided = (tiny.reverse(first, noise, g, scale=0.2) for g in (None, ascent(toward)))
    assert toward(guided).mean() > toward(plain).mean()


@pytest.mark.parametrize("through", [5, 2])
def test_gradient_through_the_chain_equals_finite_differences(tiny: Diffuser, through: int) -> None:
    tiny = tiny.double()
    torch.manual_seed(1)
    reward = WindowReward(obs=2, acts=1, tokens=3, skip=2, hidden=[8]).double()
    reward.net[1] = torch.nn.Tanh()  # smooth, so that a difference quotient means something
    noise = draws(tiny, 4).double()

    def loss() -> torch.Tensor:
        x = tiny.reverse(
            torch.zeros(4, 2).double(), noise, ascent(reward.on_windows), scale=0.5, differentiable=through
        )
        return (x[:, 1:] ** 2).mean()

    weight = reward.net[0].weight
    (analytic,) = torch.autograd.grad(loss(), weight)
    if through < tiny.steps:  # truncated: not the whole derivative, but not nothing
        assert analytic.abs().max() > 0
        return
    for index in [(0, 3), (4, 7), (7, 11)]:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * 1e-5
            values.append(loss().item())
            with torch.no_grad():
                weight[index] -= sign * 1e-5
        assert analytic[index].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_full_and_truncated_gradients_differ_but_samples_do_not(tiny: Diffuser) -> None:
    torch.manual_seed(1)
    reward = WindowReward(obs=2, acts=1, tokens=3, skip=2, hidden=[8])
    noise = draws(tiny, 4)
    results = []
    for through in (5, 3):
        x = tiny.reverse(torch.zeros(4, 2), noise, reward.slope, scale=0.5, differentiable=through)
        results.append((x, torch.autograd.grad((x**2).mean(), reward.net[0].weight)[0]))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert not torch.allclose(results[0][1], results[1][1])


@pytest.mark.parametrize("relative", [False, True])
def test_codec_inverts_itself_and_reads_the_right_steps(relative: bool) -> None:
    rng = np.random.default_rng(0)
    data = Trajectories(rng.normal(size=(3, 13, 2)), rng.normal(size=(3, 12, 1)))
    codec = Codec(2, 1, tokens=3, skip=4, relative=relative)
    codec.fit(data)
    obs, acts = torch.tensor(data.obs), torch.tensor(data.acts)
    back_obs, back_acts = codec.decode(codec.encode(obs, acts))
    assert torch.allclose(back_obs, obs[:, :12:4], atol=1e-5)
    assert torch.allclose(back_acts, acts, atol=1e-5)


def test_relative_windows_are_as_fine_for_near_tokens_as_for_far_ones() -> None:
    """Straight walks through a large space: differences to the first observation scale to the same size."""
    rng = np.random.default_rng(0)
    walks = 100 * rng.normal(size=(50, 1, 1)) + rng.normal(size=(50, 1, 1)) * np.arange(13.0)[None, :, None]
    data = Trajectories(walks, np.zeros((50, 12, 1)))
    codec = Codec(1, 1, tokens=3, skip=4, relative=True)
    codec.fit(data)
    x = codec.encode(torch.tensor(data.obs), torch.tensor(data.acts))
    assert torch.allclose(x[:, 0, :1], codec.first(torch.tensor(data.obs[:, 0])))
    assert torch.allclose(x[:, 1, 0], x[:, 2, 0], atol=1e-4)
    assert x[:, 1, 0].std().item() == pytest.approx(1.0, rel=0.05)


def test_denoiser_with_octaves_tells_places_a_wall_apart() -> None:
    """Two walks a hundredth of the space apart have opposite targets; only octaves separate them this soon."""
    side = torch.arange(64) % 2
    obs = torch.zeros(64, 4, 1)
    obs[:, 0, 0], obs[:, 1:, 0] = 0.02 * side, (2.0 * side - 1)[:, None]
    losses = []
    for octaves in (0, 7):
        torch.manual_seed(0)
        model = Diffuser(obs=1, acts=1, tokens=4, skip=1, steps=1, width=32, blocks=1, octaves=octaves)
        x0 = torch.cat([obs, torch.zeros(64, 4, 1)], -1)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            loss = model.loss(x0, torch.zeros(64, dtype=torch.long), torch.randn(x0.shape) * 10)
            loss.backward()
            optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0] / 2


def test_window_sampler_draws_contiguous_pieces_and_refuses_long_ones() -> None:
    steps = np.arange(11.0)
    data = Trajectories(np.stack([steps, steps + 100])[..., None], np.stack([steps[:-1], steps[:-1] + 100])[..., None])
    obs, acts = WindowSampler(data, 4, np.random.default_rng(0)).draw(64)
    assert (obs.diff(dim=1) == 1).all()
    assert torch.equal(obs[:, :-1], acts)
    assert {float(x) for x in obs[:, 0, 0]} == {*map(float, range(7)), *map(float, range(100, 107))}
    with pytest.raises(ValueError, match="window of 11 steps does not fit episodes of 10"):
        WindowSampler(data, 11, np.random.default_rng(0))


def test_step_reward_names_unknown_inputs() -> None:
    with pytest.raises(ValueError, match="choose from obs, acts, next_obs"):
        StepReward(obs=2, acts=1, inputs=("position",))


def test_windows_are_absolute_to_rewards_whatever_the_codec(tiny: Diffuser) -> None:
    rng = np.random.default_rng(0)
    data = Trajectories(rng.normal(2, 3, (5, 13, 2)), rng.normal(size=(5, 12, 1)))
    obs, acts = torch.tensor(rng.normal(size=(4, 7, 2))), torch.tensor(rng.normal(size=(4, 6, 1)))
    windows = []
    for relative in (False, True):
        codec = Codec(2, 1, tokens=3, skip=2, relative=relative)
        codec.fit(data)
        windows.append(codec.absolute(codec.encode(obs, acts)))
    assert torch.allclose(windows[0][:, :, 2:], windows[1][:, :, 2:], atol=1e-5)
    assert torch.allclose(windows[0][:, :, :2], windows[1][:, :, :2], atol=0.3)  # means over slightly other steps
    assert torch.allclose(codec.decode(codec.encode(obs, acts))[0], obs[:, :5:2], atol=1e-5)


@pytest.mark.parametrize("relative", [False, True])
def test_guidance_in_closed_form_equals_automatic_differentiation(tiny: Diffuser, relative: bool) -> None:
    """The slope, and the reward's gradient through the whole chain, taken once for all pushes."""
    torch.manual_seed(1)
    tiny = tiny.double()
    reward = WindowReward(obs=2, acts=1, tokens=3, skip=2, hidden=[8, 6], relative=relative).double()
    if relative:
        reward.codec.std.uniform_(0.5, 2)
        reward.codec.mean.normal_()
    x = torch.randn(4, 3, 4, dtype=torch.float64)
    assert torch.allclose(reward.slope(x), ascent(reward.on_windows)(x))
    for through in (tiny.steps, 3):
        gradients = []
        for guide in (ascent(reward.on_windows), Pushes(reward)):
            noise = draws(tiny, 4).double()
            sample = tiny.reverse(torch.zeros(4, 2).double(), noise, guide, scale=3.0, stop=2, differentiable=through)
            loss = (sample[:, 1:] ** 2).mean()
            weights = list(reward.net.parameters())
            found = (
                guide.gradients(loss)
                if isinstance(guide, Pushes)
                else torch.autograd.grad(loss, weights, allow_unused=True)
            )
            gradients.append(torch.cat([g.flatten() for g, w in zip(found, weights, strict=True) if w.ndim == 2]))
        assert gradients[0].abs().max() > 0
        assert torch.allclose(*gradients, atol=1e-12)


def test_a_loss_that_cannot_reach_the_reward_is_refused() -> None:
    DiffusionIRL(through=3, planning=Planning(stop=2))
    with pytest.raises(ValueError, match=r"last 2 diffusion steps, and the last 2 are not guided; raise through"):
        DiffusionIRL(through=2, planning=Planning(stop=2))
    with pytest.raises(ValueError, match="last 16 diffusion steps"):
        DiffusionIRL(planning=Planning(stop=16))
    with pytest.raises(ValueError, match="greater than 0"):
        Planning(scale=0)
