"""Distances between reward functions in [0, 1]: EPIC, DARD and STARC on finite MDPs, and EPIC from samples.

All three send a reward to a canonical form that forgets potential shaping, then to length one, and take half the
distance of the results: 0 for rewards that order policies alike, 1 for opposite ones. A reward whose canonical form
vanishes (or, for EPIC and DARD, is constant) is *trivial* and goes to the origin: two trivial rewards are 0 apart, a
trivial and a non-trivial one 1/2. This is the convention of STARC (Skalse et al. 2024), where a canonical form of zero
stays zero; used for EPIC and DARD too, whose Pearson distance is undefined there, it keeps the triangle inequality.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Reward = Callable[[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]], ArrayLike]

_GROUPS = 20  # of canonicalisation samples, the unit in which the bootstrap redraws them


def epic_distance_tabular(
    reward_a: ArrayLike,
    reward_b: ArrayLike,
    discount: float,
    state_dist: ArrayLike | None = None,
    action_dist: ArrayLike | None = None,
) -> float:
    """EPIC distance of two tabular rewards: Pearson distance of their canonically shaped forms.

    S and S' come from ``state_dist``, A from ``action_dist``, all independent, both to canonicalise and to compare.
    Source: Gleave et al. 2021 (arXiv 2006.13900), def. 4.1 for the canonical form.

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite, also on transitions that the dynamics exclude.
        discount: in [0, 1).
        state_dist, action_dist: probabilities ``[S]`` and ``[A]``; None for uniform.

    Returns:
        in [0, 1]; trivial rewards as in the module's docstring.

    Raises:
        ValueError: on a shape, value, distribution or discount outside the above.
    """
    a, b = _rewards(reward_a, reward_b, discount)
    states = _probabilities("state_dist", state_dist, a.shape[:1])
    actions = _probabilities("action_dist", action_dist, a.shape[1:2])

    def canonical(reward: Array) -> Array:
        mean: Array = np.einsum("sat,a,t->s", reward, actions, states)
        return reward + discount * mean - mean[:, None, None] - discount * (states @ mean)

    weights = np.einsum("s,a,t->sat", states, actions, states)
    return _half_distance(*[_standard(canonical(r), weights, _rounding(r, discount)) for r in (a, b)])


def dard_distance_tabular(
    reward_a: ArrayLike,
    reward_b: ArrayLike,
    transitions: ArrayLike,
    discount: float,
    state_dist: ArrayLike | None = None,
    action_dist: ArrayLike | None = None,
) -> float:
    """DARD distance of two tabular rewards: like EPIC, but shaped and compared along the dynamics.

    The transformed reward is R(s,a,s') + E[g R(s',A,S'') - R(s,A,S') - g R(S',A,S'')] with one A from ``action_dist``,
    S' from T(s,A) and S'' from T(s',A), g the discount. It is compared on s from ``state_dist``, a from ``action_dist``
    and s' from T(s,a). Transitions (S',A,S'') of the last term may still be impossible.
    Source: Wulfe et al. 2022 (arXiv 2201.10081).

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite.
        transitions: probabilities ``[S, A, S']`` of the next state.
        discount: in [0, 1).
        state_dist, action_dist: probabilities ``[S]`` and ``[A]``; None for uniform.

    Returns:
        in [0, 1]; trivial rewards as in the module's docstring.

    Raises:
        ValueError: on a shape, value, distribution or discount outside the above.
    """
    a, b = _rewards(reward_a, reward_b, discount)
    dynamics = _probabilities("transitions", transitions, a.shape)
    states = _probabilities("state_dist", state_dist, a.shape[:1])
    actions = _probabilities("action_dist", action_dist, a.shape[1:2])

    def canonical(reward: Array) -> Array:
        mean: Array = np.einsum("sat,sat,a->s", reward, dynamics, actions)
        # between the next states of s (u) and those of s' = t (v), under the same action
        across: Array = np.einsum("a,sau,uav,tav->st", actions, dynamics, reward, dynamics, optimize=True)
        return reward + discount * mean - mean[:, None, None] - discount * across[:, None, :]

    weights = dynamics * states[:, None, None] * actions[:, None]
    return _half_distance(*[_standard(canonical(r), weights, _rounding(r, discount)) for r in (a, b)])


def starc_distance_tabular(reward_a: ArrayLike, reward_b: ArrayLike, transitions: ArrayLike, discount: float) -> float:
    """STARC distance of two tabular rewards: value-adjusted levelling, L2 norm, halved.

    The canonical form is E[R(s,a,S') - V(s) + g V(S')] with S' from T(s,a), g the discount and V the value of the
    uniform policy under R; it also forgets how the reward of (s, a) is spread over next states.
    Source: Skalse et al. 2024 (arXiv 2309.15257).

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite; values on impossible transitions have no effect.
        transitions: probabilities ``[S, A, S']`` of the next state.
        discount: in [0, 1).

    Returns:
        in [0, 1]; trivial rewards as in the module's docstring.

    Raises:
        ValueError: on a shape, value, distribution or discount outside the above.
    """
    a, b = _rewards(reward_a, reward_b, discount)
    dynamics = _probabilities("transitions", transitions, a.shape)

    def standard(reward: Array) -> Array:
        expected: Array = (dynamics * reward).sum(2)
        value = np.linalg.solve(np.eye(len(reward)) - discount * dynamics.mean(1), expected.mean(1))
        # constant over s', so the norm over [S, A] is the one over [S, A, S'] up to a factor that cancels
        levelled = expected - value[:, None] + discount * dynamics @ value
        return _unit(levelled, _rounding(expected, discount) * np.sqrt(levelled.size))

    return _half_distance(standard(a), standard(b))


def epic_distance(
    reward_a: Reward,
    reward_b: Reward,
    obs: NDArray[np.floating],
    acts: NDArray[np.floating],
    next_obs: NDArray[np.floating],
    discount: float,
    rng: np.random.Generator,
    canonical_samples: int = 1000,
    resamples: int = 100,
    chunk: int = 65536,
) -> tuple[float, float]:
    """EPIC distance of two reward functions on sampled transitions, with its standard error.

    The transitions are the coverage. S and S' of the canonical form are drawn from the rows of ``obs``, A from those of
    ``acts``, independently. Potential shaping cancels on the sample itself, not only in expectation.
    Source: Gleave et al. 2021 (arXiv 2006.13900).

    Args:
        reward_a, reward_b: map float ``[n, O]``, ``[n, A]``, ``[n, O]`` to finite ``[n]``.
        obs, acts, next_obs: float ``[N, O]``, ``[N, A]``, ``[N, O]``, N >= 2, rows independent.
        discount: in [0, 1).
        rng: draws the canonicalisation samples and the bootstrap.
        canonical_samples: pairs (A, S') per state, a positive multiple of 20.
        resamples: bootstrap resamples, over transitions and canonicalisation samples together, >= 2.
        chunk: most transitions per call of a reward; at least ``canonical_samples`` are sent.

    Returns:
        distance in [0, 1] (trivial rewards as in the module's docstring), and its bootstrap standard error.

    Raises:
        ValueError: on a shape, value or count outside the above.
    """
    _check_discount(discount)
    n, shapes = len(obs), f"obs {obs.shape}, acts {acts.shape}, next_obs {next_obs.shape}"
    if n < 2 or obs.ndim != 2 or acts.ndim != 2 or len(acts) != n or next_obs.shape != obs.shape:
        raise ValueError(f"{shapes}: pass [N, O], [N, A], [N, O] with the same N >= 2")
    if canonical_samples < _GROUPS or canonical_samples % _GROUPS or resamples < 2 or chunk < 1:
        counts = f"canonical_samples is {canonical_samples}, resamples {resamples}, chunk {chunk}"
        raise ValueError(f"{counts}: pass a positive multiple of {_GROUPS}, at least 2, at least 1")
    drawn = acts[rng.integers(n, size=canonical_samples)], obs[rng.integers(n, size=canonical_samples)]
    rows, per_group = max(1, chunk // canonical_samples), canonical_samples // _GROUPS

    def parts(reward: Reward) -> tuple[Array, Array, float]:
        """Own rewards [N], shaping per group [N, groups], and the size below which a spread is rounding."""

        def mean(states: NDArray[np.floating]) -> Array:
            blocks = (states[i : i + rows] for i in range(0, n, rows))
            pairs = ((s.repeat(canonical_samples, 0), *(np.tile(d, (len(s), 1)) for d in drawn)) for s in blocks)
            return np.concatenate([_call(reward, *p)[0].reshape(-1, _GROUPS, per_group).mean(2) for p in pairs])

        pieces = (slice(i, i + chunk) for i in range(0, n, chunk))
        calls = [_call(reward, obs[p], acts[p], next_obs[p]) for p in pieces]
        own, at, after = np.concatenate([values for values, _ in calls]), mean(obs), mean(next_obs)
        scale = max(float(np.abs(x).max()) for x in (own, at, after))
        # the canonical form's last term is a constant, which the Pearson distance does not see
        return own, discount * after - at, 64 * calls[0][1] * scale

    def distance(picked: NDArray[np.int64], groups: Array) -> float:
        flat = np.full(n, 1 / n)
        return _half_distance(*[_standard((own + shape @ groups)[picked], flat, floor) for own, shape, floor in both])

    both = [parts(reward_a), parts(reward_b)]
    even = np.full(_GROUPS, 1 / _GROUPS)
    redrawn = [distance(rng.integers(n, size=n), rng.multinomial(_GROUPS, even) / _GROUPS) for _ in range(resamples)]
    return distance(np.arange(n), even), float(np.std(redrawn, ddof=1))


def _call(reward: Reward, *arrays: NDArray[np.floating]) -> tuple[Array, float]:
    """Values of a reward in float64, and the relative rounding of the type it computes in."""
    values = np.asarray(reward(*arrays))
    if values.shape != (len(arrays[0]),):
        raise ValueError(f"reward returned shape {values.shape} on {len(arrays[0])} transitions: return one value each")
    if not np.isfinite(values).all():
        raise ValueError("reward returned a value that is not finite: bound or clip it before measuring")
    return values.astype(np.float64), float(np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps)


def _check_discount(discount: float) -> None:
    if not 0 <= discount < 1:
        raise ValueError(f"discount is {discount}: pass a value in [0, 1)")


def _rewards(reward_a: ArrayLike, reward_b: ArrayLike, discount: float) -> tuple[Array, Array]:
    _check_discount(discount)
    a, b = np.asarray(reward_a, np.float64), np.asarray(reward_b, np.float64)
    if a.ndim != 3 or a.shape[0] != a.shape[2] or a.shape != b.shape or not a.size:
        raise ValueError(f"rewards have shapes {a.shape} and {b.shape}: pass two of the same shape [S, A, S']")
    for which, *at in np.argwhere(~np.isfinite([a, b])).tolist():
        value = (a, b)[which][tuple(at)]
        raise ValueError(f"reward_{'ab'[which]} is {value} at (s, a, s') = {at}: replace it by a finite value")
    return a, b


def _probabilities(name: str, given: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if given is None:
        return np.full(shape, 1 / shape[-1])
    values = np.asarray(given, np.float64)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}: pass {shape} to match the rewards")
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"{name} holds a value that is negative or not finite: pass probabilities")
    total = values.sum(-1)
    if np.abs(total - 1).max() > 1e-8:
        at = np.unravel_index(np.abs(total - 1).argmax(), total.shape)
        where = f" at (s, a) = {[int(i) for i in at]}" if at else ""
        raise ValueError(f"{name} sums to {total[at]:.9g}{where}: divide by the sum so that it is 1")
    return values


def _rounding(reward: Array, discount: float) -> float:
    """Length below which a canonical form is taken for rounding: values reach max |R| / (1 - discount)."""
    return 1e-12 * float(np.abs(reward).max()) / (1 - discount)


def _unit(values: Array, floor: float) -> Array:
    """The direction of an array, or zero if its length is within rounding."""
    norm = float(np.linalg.norm(values))
    return values / norm if norm > floor else np.zeros_like(values)


def _standard(values: Array, weights: Array, floor: float) -> Array:
    """Centred and scaled so that half the distance of two is their Pearson distance, zero if constant."""
    return _unit((values - (weights * values).sum()) * np.sqrt(weights), floor)


def _half_distance(a: Array, b: Array) -> float:
    # equals sqrt((1 - r) / 2), without its loss of digits near r = 1
    return min(1.0, float(np.linalg.norm(a - b)) / 2)
