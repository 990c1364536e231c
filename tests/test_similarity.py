"""Similarities against brute force and their definitions."""

import math

import numpy as np
import pytest
import torch

from methods.similarity import BANDS, gaussian_mmd2, matern_mmd2, mse


@pytest.fixture
def sets() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, generator=generator), torch.randn(7, 3, generator=generator) + 0.5


def test_gaussian_mmd_equals_the_sum_written_out(sets: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (x.double().numpy() for x in sets)
    both = np.concatenate([a, b])
    width = np.mean([np.sum((x - y) ** 2) for i, x in enumerate(both) for j, y in enumerate(both) if i != j])

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return sum(math.exp(-np.sum((x - y) ** 2) / (width * band)) for band in BANDS)

    def average(p: np.ndarray, q: np.ndarray) -> float:
        return float(np.mean([k(x, y) for x in p for y in q]))

    expected = average(a, a) + average(b, b) - 2 * average(a, b)
    assert gaussian_mmd2(*(x.double() for x in sets)).item() == pytest.approx(expected, rel=1e-6)


def test_matern_mmd_equals_the_unbiased_sum_written_out(sets: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (x.double().numpy() for x in sets)
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return math.exp(-float(np.linalg.norm(x - y)))  # Matern, nu = 1/2, unit length scale

    def within(p: np.ndarray) -> float:
        return float(np.mean([k(x, y) for i, x in enumerate(p) for j, y in enumerate(p) if i != j]))

    expected = within(a) + within(b) - 2 * float(np.mean([k(x, y) for x in a for y in b]))
    assert matern_mmd2(*(x.double() for x in sets)).item() == pytest.approx(expected, abs=1e-5)


def test_equal_sets_are_at_distance_zero(sets: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert gaussian_mmd2(sets[0], sets[0]).item() == pytest.approx(0, abs=1e-6)
    assert mse(sets[0], sets[0]).item() == 0


@pytest.mark.parametrize("similarity", [gaussian_mmd2, matern_mmd2])
def test_mmd_tells_near_from_far_and_has_finite_gradients(similarity) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(64, 4, generator=generator) + 1, torch.randn(64, 4, generator=generator) + 1
    a.requires_grad_()
    assert similarity(a, b) < similarity(a, -b)
    (gradient,) = torch.autograd.grad(similarity(a, b), a)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
