"""Distances between rewards of finite MDPs, in [0, 1]: EPIC, DARD and STARC; from samples: ``sampled_distances``.

All three send a reward to a canonical form that forgets potential shaping, then to length one, and take half the
distance of the results: 0 for rewards that order policies alike, 1 for opposite ones. A reward whose canonical form
vanishes (or, for EPIC and DARD, is constant) is *trivial* and goes to the origin: two trivial rewards are 0 apart, a
trivial and a non-trivial one 1/2. This is the convention of STARC (Skalse et al. 2024), where a canonical form of zero
stays zero; used for EPIC and DARD too, whose Pearson distance is undefined there, it keeps the triangle inequality.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def epic_distance_tabular(
    reward_a: ArrayLike,
    reward_b: ArrayLike,
    discount: float,
    state_dist: ArrayLike | None = None,
    action_dist: ArrayLike | None = None,
) -> float:
    """EPIC distance of two tabular rewards: Pearson distance of their canonically shaped forms.

    S and S' come from ``state_dist``, A from ``action_dist``, all independent, both to canonicalise and to compare.
    Source: Gleave et al. 2021 (arXiv 2006.13900), def. 4.1 for the canonical form, repeated as eq. 1 of Wulfe et al.

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite.
        discount: in [0, 1).
        state_dist, action_dist: probabilities ``[S]`` and ``[A]``; None for uniform.

    Returns:
        the distance, in [0, 1].

    Raises:
        ValueError: a shape, value, distribution or discount outside these.
    """
    a, b = _rewards(reward_a, reward_b, discount)
    states = _probabilities("state_dist", state_dist, a.shape[:1])
    actions = _probabilities("action_dist", action_dist, a.shape[1:2])

    def canonical(reward: Array) -> Array:
        mean: Array = np.einsum("sat,a,t->s", reward, actions, states)
        return reward + discount * mean - mean[:, None, None] - discount * (states @ mean)

    weights = np.einsum("s,a,t->sat", states, actions, states)
    return half_distance(*[standard(canonical(r), weights, _rounding(r, discount)) for r in (a, b)])


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
    Source: Wulfe et al. 2022 (arXiv 2201.10081), eq. 3 for the transformed reward.

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite.
        transitions: probabilities ``[S, A, S']`` of the next state.
        discount: in [0, 1).
        state_dist, action_dist: probabilities ``[S]`` and ``[A]``; None for uniform.

    Returns:
        the distance, in [0, 1].

    Raises:
        ValueError: a shape, value, distribution or discount outside these.
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
    return half_distance(*[standard(canonical(r), weights, _rounding(r, discount)) for r in (a, b)])


def starc_distance_tabular(reward_a: ArrayLike, reward_b: ArrayLike, transitions: ArrayLike, discount: float) -> float:
    """STARC distance of two tabular rewards: value-adjusted levelling, L2 norm, halved.

    The canonical form is E[R(s,a,S') - V(s) + g V(S')] with S' from T(s,a), g the discount and V the value of the
    uniform policy under R; it also forgets how the reward of (s, a) is spread over next states.
    Source: Skalse et al. 2024 (arXiv 2309.15257), there the canonicalisation VAL.

    Args:
        reward_a, reward_b: float ``[S, A, S']``, finite.
        transitions: probabilities ``[S, A, S']`` of the next state.
        discount: in [0, 1).

    Returns:
        the distance, in [0, 1].

    Raises:
        ValueError: a shape, value, distribution or discount outside these.
    """
    a, b = _rewards(reward_a, reward_b, discount)
    dynamics = _probabilities("transitions", transitions, a.shape)

    def direction(reward: Array) -> Array:
        expected: Array = (dynamics * reward).sum(2)
        value = np.linalg.solve(np.eye(len(reward)) - discount * dynamics.mean(1), expected.mean(1))
        # constant over s', so the norm over [S, A] is the one over [S, A, S'] up to a factor that cancels
        levelled = expected - value[:, None] + discount * dynamics @ value
        return unit(levelled, _rounding(expected, discount) * np.sqrt(levelled.size))

    return half_distance(direction(a), direction(b))


def check_discount(discount: float) -> None:
    """Refuses a discount that makes no finite return.

    Args:
        discount: per step.

    Raises:
        ValueError: it is outside [0, 1).
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount is {discount}: pass a value in [0, 1)")


def _rewards(reward_a: ArrayLike, reward_b: ArrayLike, discount: float) -> tuple[Array, Array]:
    check_discount(discount)
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


def unit(values: Array, floor: float) -> Array:
    """The direction of an array, or zero if its length is within rounding.

    Args:
        values: of any shape.
        floor: length up to which it counts as zero.

    Returns:
        values of length 1, or zeros.
    """
    norm = float(np.linalg.norm(values))
    return values / norm if norm > floor else np.zeros_like(values)


def standard(values: Array, weights: Array, floor: float) -> Array:
    """Centred and scaled so that half the distance of two is their Pearson distance, zero if constant.

    Args:
        values: of any shape.
        weights: probabilities of the same shape.
        floor: deviation up to which it counts as constant.
    """
    return unit((values - (weights * values).sum()) * np.sqrt(weights), floor)


def half_distance(a: Array, b: Array) -> float:
    """Half the Euclidean distance of two arrays ``a`` and ``b`` of one shape, each of length 1 or zero: in [0, 1].

    Of two that :func:`standard` made it is sqrt((1 - r) / 2), r their Pearson correlation, without the loss of digits
    that this formula has near r = 1.
    """
    return min(1.0, float(np.linalg.norm(a - b)) / 2)
