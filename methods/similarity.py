"""Similarity of two sets of windows: squared error and maximum mean discrepancy (Gretton et al. 2012)."""

from collections.abc import Callable

import torch
from torch import Tensor

BANDS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mse(samples: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of pairs; both ``[n, F]``, pair by pair."""
    return ((samples - targets) ** 2).mean()


def gaussian_mmd2(samples: Tensor, targets: Tensor) -> Tensor:
    """Squared MMD with a sum of five Gaussian kernels; bandwidths are the mean squared distance times 2^-2..2.

    The biased estimator (V-statistic; Gretton et al. 2012, eq. 5): never negative.

    Args:
        samples: ``[n, F]``.
        targets: ``[m, F]``.

    Returns:
        scalar >= 0.
    """
    both = torch.cat([samples, targets])
    squared = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    count = len(both)
    width = squared.detach().sum() / (count * (count - 1))
    kernel = sum(torch.exp(-squared / (width * band)) for band in BANDS)
    assert isinstance(kernel, Tensor)
    n = len(samples)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def matern_mmd2(samples: Tensor, targets: Tensor) -> Tensor:
    """Squared MMD with the Matern kernel of nu = 1/2, exp(-distance), on vectors scaled to unit length.

    The unbiased estimator (U-statistic; Gretton et al. 2012, eq. 3): may fall below zero.

    Args:
        samples: ``[n, F]``, n >= 2.
        targets: ``[m, F]``, m >= 2.
    """
    a = torch.nn.functional.normalize(samples, dim=1)
    b = torch.nn.functional.normalize(targets, dim=1)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squared = ((x[:, None] - y[None]) ** 2).sum(-1)
        return torch.exp(-(squared + 1e-12).sqrt())  # the root has no gradient at zero

    def off_diagonal_mean(k: Tensor) -> Tensor:
        n = len(k)
        return (k.sum() - k.diagonal().sum()) / (n * (n - 1))

    return off_diagonal_mean(kernel(a, a)) + off_diagonal_mean(kernel(b, b)) - 2 * kernel(a, b).mean()


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "mmd-gaussian": gaussian_mmd2,
    "mmd-matern": matern_mmd2,
}
