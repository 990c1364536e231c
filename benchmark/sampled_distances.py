"""EPIC, DARD and STARC distances of reward functions on sampled transitions, each with its standard error.

The sampled transitions are the coverage; A of every canonical form is drawn from their actions, whatever the state.
Values of trivial rewards are those of :mod:`benchmark.distances`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmark.distances import Array, check_discount, half_distance, standard, unit

Numbers = NDArray[np.floating[Any]]
Reward = Callable[[Numbers, Numbers, Numbers], ArrayLike]
# obs [n, O], acts [n, A], rng -> next_obs [n, O], one draw from T(s, a) for each row
Simulate = Callable[[Numbers, Numbers, np.random.Generator], Numbers]
Features = Callable[[Numbers], Array]

_GROUPS = 20  # of canonical samples, the unit in which the bootstrap redraws them
CHUNK = 8192  # most transitions per call of a reward or simulator: activations stay in the processor's cache


class Transitions(NamedTuple):
    """Float ``[N, O]``, ``[N, A]``, ``[N, O]``, row by row one step."""

    obs: Numbers
    acts: Numbers
    next_obs: Numbers


class Estimate(NamedTuple):
    """A distance in [0, 1] and its bootstrap standard error."""

    distance: float
    error: float


def epic_distance(
    reward_a: Reward,
    reward_b: Reward,
    coverage: Transitions,
    discount: float,
    rng: np.random.Generator,
    canonical_samples: int = 1000,
    resamples: int = 100,
) -> Estimate:
    """EPIC distance: S and S' of the canonical form are drawn from the coverage's states, independently.

    ``N * canonical_samples`` pairs are asked for. Shaping cancels on every sample, not only in expectation.
    Source: Gleave et al. 2021 (arXiv 2006.13900), def. 4.1.

    Args:
        reward_a, reward_b: map float ``[n, O]``, ``[n, A]``, ``[n, O]`` to finite ``[n]``.
        coverage: N >= 2 transitions, rows independent.
        discount: in [0, 1).
        rng: draws the canonical samples and the bootstrap.
        canonical_samples: draws behind each expectation, a positive multiple of 20.
        resamples: of the bootstrap, over transitions and canonical samples together, >= 2.

    Returns:
        the distance in [0, 1] and its standard error.

    Raises:
        ValueError: a shape, value or count outside these.
    """
    n = _check(coverage, discount, canonical_samples, resamples)
    acts, after = (x[rng.integers(n, size=canonical_samples)] for x in (coverage.acts, coverage.obs))
    rows = min(n, max(1, CHUNK // canonical_samples))
    tiled_acts, tiled_after = (np.tile(x, (rows, 1)) for x in (acts, after))

    def mean(reward: Reward, states: Numbers) -> Array:
        """E R(s, A, S') per state and group, ``[N, groups]``."""
        blocks = (states[i : i + rows].repeat(canonical_samples, 0) for i in range(0, n, rows))
        values = [_call(reward, x, tiled_acts[: len(x)], tiled_after[: len(x)])[0] for x in blocks]
        found: Array = np.concatenate(values).reshape(n, _GROUPS, -1).mean(2)
        return found

    def parts(reward: Reward) -> tuple[Array, Array, float]:
        own, eps = _chunks(reward, *coverage)
        at, later = mean(reward, coverage.obs), mean(reward, coverage.next_obs)
        # the canonical form's last term is a constant, which the Pearson distance does not see
        return own, discount * later - at, eps * max(np.abs(x).max() for x in (own, at, later))

    return _pearson_estimate([parts(reward_a), parts(reward_b)], rng, resamples)


def dard_distance(
    reward_a: Reward,
    reward_b: Reward,
    coverage: Transitions,
    simulate: Simulate,
    discount: float,
    rng: np.random.Generator,
    canonical_samples: int = 20,
    resamples: int = 100,
) -> Estimate:
    """DARD distance: like EPIC, but shaped along the dynamics, from one draw of S' and S'' per state and A.

    The canonical form is that of :func:`benchmark.distances.dard_distance_tabular`; the simulator takes
    ``2 N canonical_samples`` steps. Source: Wulfe et al. 2022 (arXiv 2201.10081), eq. 3.

    Args:
        reward_a, reward_b: map float ``[n, O]``, ``[n, A]``, ``[n, O]`` to finite ``[n]``.
        coverage: N >= 2 transitions, rows independent.
        simulate: the transition model.
        discount: in [0, 1).
        rng: draws the canonical samples and the bootstrap.
        canonical_samples: draws behind each expectation, a positive multiple of 20.
        resamples: of the bootstrap, over transitions and canonical samples together, >= 2.

    Returns:
        the distance in [0, 1] and its standard error.

    Raises:
        ValueError: a shape, value or count outside these.
    """
    n = _check(coverage, discount, canonical_samples, resamples)
    acts = coverage.acts[rng.integers(n, size=canonical_samples)]
    every = np.tile(acts, (n, 1))
    here, there = (x.repeat(canonical_samples, 0) for x in (coverage.obs, coverage.next_obs))
    after_here, after_there = _simulated(simulate, here, every, rng), _simulated(simulate, there, every, rng)

    def parts(reward: Reward) -> tuple[Array, Array, float]:
        own, eps = _chunks(reward, *coverage)
        at, later, across = (
            _chunks(reward, a, every, b)[0]
            for a, b in ((here, after_here), (there, after_there), (after_here, after_there))
        )
        shaping = (discount * later - at - discount * across).reshape(n, _GROUPS, -1).mean(2)
        return own, shaping, eps * max(np.abs(x).max() for x in (own, at, later, across))

    return _pearson_estimate([parts(reward_a), parts(reward_b)], rng, resamples)


def starc_distance(
    reward_a: Reward,
    reward_b: Reward,
    coverage: Transitions,
    discount: float,
    rng: np.random.Generator,
    features: Features | None = None,
    simulate: Simulate | None = None,
    draws: int = 1,
    resamples: int = 100,
) -> Estimate:
    """STARC distance: value-adjusted levelling, L2 norm over the coverage's states and actions, halved.

    The canonical form is E[R(s,a,S') - V(s) + g V(S')], V the value under R of the policy that made the coverage, by
    least-squares temporal differences (Bradtke & Barto 1996): it is linear in R and leaves residuals that no feature
    explains. Rows should be long episodes of one behaviour in order: far from its own distribution the fit is unstable,
    and the bootstrap redraws twentieths of the rows as they stand.

    Bias: V is projected on ``features``, so a potential is forgotten as far as they span it, and no farther; the mean
    over S' is one of ``draws``, which adds ``1 / draws`` of the variance of its terms to the norms (nothing where the
    dynamics are deterministic). Source: Skalse et al. 2024 (arXiv 2309.15257).

    Args:
        reward_a, reward_b: map float ``[n, O]``, ``[n, A]``, ``[n, O]`` to finite ``[n]``.
        coverage: N >= 2 transitions.
        discount: in [0, 1).
        rng: draws features, next states and the bootstrap.
        features: obs ``[n, O]`` to float ``[n, F]``, N well above F; None for :func:`fourier_features` of the coverage.
        simulate: needed for more than one draw.
        draws: of S' per state and action; 1 takes the coverage's own.
        resamples: of the bootstrap, >= 2.

    Returns:
        the distance in [0, 1] and its standard error.

    Raises:
        ValueError: a shape, value or count outside these, or more than one draw without ``simulate``.
    """
    n = _check(coverage, discount, _GROUPS, resamples)
    if draws < 1 or (draws > 1 and simulate is None):
        raise ValueError(f"draws is {draws}: pass at least 1, and simulate for more than 1")
    obs, acts, _ = coverage
    nexts = (
        [_simulated(simulate, obs, acts, rng) for _ in range(draws)] if simulate and draws > 1 else [coverage.next_obs]
    )
    phi = features or fourier_features(obs, rng)
    here = phi(obs)
    ahead = here - discount * np.mean([phi(x) for x in nexts], 0)
    calls = [[_chunks(reward, obs, acts, x) for x in nexts] for reward in (reward_a, reward_b)]
    own = np.stack([np.mean([values for values, _ in found], 0) for found in calls], 1)
    members = np.array_split(np.arange(n), _GROUPS)
    sizes = [len(m) for m in members]
    matrices = np.stack([here[m].T @ ahead[m] for m in members])
    sums = np.stack([here[m].T @ own[m] for m in members])
    ridge = 1e-9 * np.square(here).mean(0).sum() * n / _GROUPS / here.shape[1] * np.eye(here.shape[1])
    # what the ridge leaves is no signal either
    floors = [max(found[0][1], 1e-7) * np.abs(own[:, k]).max() * np.sqrt(n) for k, found in enumerate(calls)]

    even = np.full(_GROUPS, 1 / _GROUPS)
    drawn = np.vstack([even, rng.multinomial(_GROUPS, even, resamples) / _GROUPS])
    fits = [
        np.linalg.solve(matrix + ridge, total)
        for matrix, total in zip(*(np.tensordot(drawn, x, 1) for x in (matrices, sums)), strict=True)
    ]
    # one product for all resamples: one by one they cost twice as much
    levelled = [own[:, [k]] - ahead @ np.stack([fit[:, k] for fit in fits], 1) for k in range(2)]
    found = [
        half_distance(*(unit(values[:, r] * weights, floor) for values, floor in zip(levelled, floors, strict=True)))
        for r, weights in enumerate(np.sqrt(drawn.repeat(sizes, 1) * _GROUPS))
    ]
    return Estimate(found[0], float(np.std(found[1:], ddof=1)))


def fourier_features(obs: Numbers, rng: np.random.Generator, count: int = 256) -> Features:
    """Constant, linear and random Fourier features of standardised observations.

    Args:
        obs: float ``[N, O]``, gives means and scales.
        rng: draws frequencies and phases.
        count: of the Fourier features (Rahimi & Recht 2007), whose lengths are log-uniform in 1/2..4 standard
            deviations, by the square root of the number of columns.

    Returns:
        a map from observations ``[n, O]`` to float64 ``[n, 1 + O + count]``.
    """
    mean, std = obs.mean(0), obs.std(0) + 1e-8
    width = obs.shape[1]
    lengths = np.exp(rng.uniform(np.log(0.5), np.log(4), count)) * np.sqrt(width)
    frequency, phase = rng.standard_normal((width, count)) / lengths, rng.uniform(0, 2 * np.pi, count)

    def features(obs: Numbers) -> Array:
        scaled = ((obs - mean) / std).astype(np.float64)
        return np.concatenate([np.ones((len(obs), 1)), scaled, np.cos(scaled @ frequency + phase)], 1)

    return features


def _pearson_estimate(both: Sequence[tuple[Array, Array, float]], rng: np.random.Generator, resamples: int) -> Estimate:
    """Of two rewards given as own values ``[N]``, shaping by group ``[N, groups]`` and rounding.

    The bootstrap redraws transitions, as rows, and groups, as weights that sum to 1.
    """
    n = len(both[0][0])
    flat, even = np.full(n, 1 / n), np.full(_GROUPS, 1 / _GROUPS)

    def distance(picked: NDArray[np.int64], groups: Array) -> float:
        return half_distance(*(standard((own + shaping @ groups)[picked], flat, floor) for own, shaping, floor in both))

    redrawn = [distance(rng.integers(n, size=n), rng.multinomial(_GROUPS, even) / _GROUPS) for _ in range(resamples)]
    return Estimate(distance(np.arange(n), even), float(np.std(redrawn, ddof=1)))


def _check(coverage: Transitions, discount: float, canonical_samples: int, resamples: int) -> int:
    """The number of transitions, if all is well."""
    check_discount(discount)
    obs, acts, next_obs = coverage
    n = len(obs)
    if n < 2 or obs.ndim != 2 or acts.ndim != 2 or len(acts) != n or next_obs.shape != obs.shape:
        shapes = f"obs {obs.shape}, acts {acts.shape}, next_obs {next_obs.shape}"
        raise ValueError(f"{shapes}: pass [N, O], [N, A], [N, O] with the same N >= 2")
    if canonical_samples < _GROUPS or canonical_samples % _GROUPS or resamples < 2:
        counts = f"canonical_samples is {canonical_samples}, resamples {resamples}"
        raise ValueError(f"{counts}: pass a positive multiple of {_GROUPS}, at least 2")
    return n


def _simulated(simulate: Simulate, obs: Numbers, acts: Numbers, rng: np.random.Generator) -> Numbers:
    """Next states of any number of rows."""
    pieces = (slice(i, i + CHUNK) for i in range(0, len(obs), CHUNK))
    return np.concatenate([simulate(obs[p], acts[p], rng) for p in pieces])


def _chunks(reward: Reward, *columns: Numbers) -> tuple[Array, float]:
    """:func:`_call` on any number of rows."""
    calls = [_call(reward, *(x[i : i + CHUNK] for x in columns)) for i in range(0, len(columns[0]), CHUNK)]
    return np.concatenate([values for values, _ in calls]), calls[0][1]


def _call(reward: Reward, *columns: Numbers) -> tuple[Array, float]:
    """Values of a reward in float64, and the relative size below which they are rounding of the type it computes in."""
    values = np.asarray(reward(*columns))
    if values.shape != (len(columns[0]),):
        raise ValueError(
            f"reward returned shape {values.shape} on {len(columns[0])} transitions: return one value each"
        )
    if not np.isfinite(values).all():
        raise ValueError("reward returned a value that is not finite: bound or clip it before measuring")
    eps = float(np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps)
    return values.astype(np.float64), 64 * eps
