"""Distances between rewards on tables, against values worked out by hand, and the properties that define them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.distances import dard_distance_tabular, epic_distance_tabular, starc_distance_tabular

STATES, ACTIONS, DISCOUNT = 5, 3, 0.9
DYNAMICS = np.random.default_rng(0).dirichlet(np.full(STATES, 0.5), (STATES, ACTIONS))
UNEVEN = {"state_dist": [0.1, 0.2, 0.3, 0.15, 0.25], "action_dist": [0.5, 0.2, 0.3]}
DISTANCES = {
    "epic": partial(epic_distance_tabular, discount=DISCOUNT),
    "epic uneven": partial(epic_distance_tabular, discount=DISCOUNT, **UNEVEN),
    "dard": partial(dard_distance_tabular, transitions=DYNAMICS, discount=DISCOUNT),
    "dard uneven": partial(dard_distance_tabular, transitions=DYNAMICS, discount=DISCOUNT, **UNEVEN),
    "starc": partial(starc_distance_tabular, transitions=DYNAMICS, discount=DISCOUNT),
}
Distance = Callable[..., float]
each = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES.keys())


def rewards(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, STATES, ACTIONS, STATES))


def shaping(seed: int, discount: float = DISCOUNT) -> np.ndarray:
    potential = 10 * np.random.default_rng(seed).normal(size=STATES)
    shaped = discount * potential[None, None, :] - potential[:, None, None]
    return np.broadcast_to(shaped, (STATES, ACTIONS, STATES))


@each
@pytest.mark.parametrize("seed", range(5))
def test_shaping_and_positive_scale_change_nothing(distance: Distance, seed: int) -> None:
    a, b = rewards(seed, 2)
    assert distance(a, 7.5 * a + shaping(seed)) == pytest.approx(0, abs=1e-6)
    assert distance(0.01 * a + shaping(seed), 100 * b - shaping(seed + 9)) == pytest.approx(distance(a, b), abs=1e-6)
    assert 0.2 < distance(a, b) < 0.95


@each
def test_a_potential_at_another_discount_is_a_change(distance: Distance) -> None:
    (a,) = rewards(1, 1)
    assert distance(a, a + shaping(1, discount=0.5)) > 0.05


@each
def test_the_opposite_reward_is_at_one(distance: Distance) -> None:
    (a,) = rewards(2, 1)
    assert distance(a, -a) == pytest.approx(1, abs=1e-9)
    assert distance(a, -3 * a + shaping(2)) == pytest.approx(1, abs=1e-9)


@each
def test_trivial_rewards_are_together_and_half_way_to_the_others(distance: Distance) -> None:
    (a,), zero = rewards(3, 1), np.zeros((STATES, ACTIONS, STATES))
    for trivial in (zero, shaping(3), 1e-6 * shaping(3), 1e6 * shaping(3), zero + 4.0):
        assert distance(trivial, zero) == 0
        assert distance(a, trivial) == pytest.approx(0.5)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99999])
def test_shaping_is_seen_through_at_any_discount(discount: float) -> None:
    (a,), zero = rewards(4, 1), np.zeros((STATES, ACTIONS, STATES))
    for distance in (
        partial(epic_distance_tabular, discount=discount),
        partial(dard_distance_tabular, transitions=DYNAMICS, discount=discount),
        partial(starc_distance_tabular, transitions=DYNAMICS, discount=discount),
    ):
        assert distance(shaping(4, discount), zero) == distance(zero + 3.3, zero) == 0
        assert distance(a, a + shaping(4, discount)) == pytest.approx(0, abs=1e-6)


def test_a_small_signal_is_not_taken_for_rounding() -> None:
    a, b = rewards(5, 2)
    for distance in DISTANCES.values():
        assert distance(a + 1e4 * shaping(5), b) == pytest.approx(distance(a, b), abs=1e-6)
        assert distance(1e-9 * a, 1e9 * b) == pytest.approx(distance(a, b), abs=1e-9)


def test_epic_of_rewards_of_states_is_their_pearson_distance() -> None:
    # canonically shaped, R(s) becomes discount (R(s') - mean R)
    a, b = np.random.default_rng(6).normal(size=(2, STATES))
    full = [np.broadcast_to(r[:, None, None], (STATES, ACTIONS, STATES)) for r in (a, b)]
    r = np.corrcoef(a, b)[0, 1]
    assert epic_distance_tabular(*full, DISCOUNT) == pytest.approx(np.sqrt((1 - r) / 2), abs=1e-9)
    # without a future a reward of the state alone is a potential
    assert epic_distance_tabular(*full, 0.0) == 0


def test_epic_of_rewards_on_a_grid_is_the_published_one() -> None:
    """EPIC's grid of nine (Gleave et al. 2021, section 5), as computed by the authors of STARC.

    Source: Skalse et al. 2024, code at lucyfarnik/starc, ``results/handpicked_epic_gridworlds_new.json`` at b5688a2,
    columns EPIC-2-2: L2 distances of normalised canonical forms, twice the EPIC distance. Dense is Sparse, shaped.
    """
    path, cliff = ([0, -1, -1, 0, 0, 0, -1, -1, 4], [0, -1, -1, 0, 0, 0, -4, -4, 4])
    sparse, steps_left = np.eye(9)[8], np.array([4, 3, 2, 3, 2, 1, 2, 1, 0])
    full = [np.broadcast_to(np.asarray(r, float)[:, None, None], (9, 5, 9)) for r in (path, cliff, sparse)]
    dense = full[2] - 0.99 * steps_left + steps_left[:, None, None]
    published = {(2, 0): 0.32036448601393464, (2, 1): 0.7351184269221362, (0, 1): 0.5344256441928606}
    for (i, j), twice in published.items():
        assert epic_distance_tabular(full[i], full[j], 0.99) == pytest.approx(twice / 2, abs=1e-9)
    assert epic_distance_tabular(full[2], dense, 0.99) == pytest.approx(0, abs=1e-6)


def test_epic_by_hand() -> None:
    # canonical forms (5, -5, 1, -1) / 8 and (-1, 1, -5, 5) / 8: r = -5 / 13
    a, b = np.zeros((2, 2, 1, 2))
    a[0, 0, 0] = b[1, 0, 1] = 1
    assert epic_distance_tabular(a, b, 0.5) == pytest.approx(3 / np.sqrt(13))


def test_epic_with_distributions_by_hand() -> None:
    # one state is never seen, so only two actions' rewards are left
    a, b = np.zeros((2, 2, 3, 2))
    a[0, :, 0], b[0, :, 0] = [0, 1, 2], [0, 1, -5]
    a[1], b[:, :, 1] = 7, -9
    assert epic_distance_tabular(a, b, 0.5, [1, 0], [0.5, 0.5, 0]) == pytest.approx(0)
    assert epic_distance_tabular(a, b, 0.5, [1, 0], [0, 0.5, 0.5]) == pytest.approx(1)


def test_distributions_also_canonicalise() -> None:
    # without a future the canonical form is R less its mean over what follows the state: under (3, 1) / 4,
    # (1, -3) / 4 in one state or in both, states alike (r = sqrt(1 / 2)) or as 3 to 1 (r = sqrt(3 / 4))
    a, b = np.zeros((2, 2, 2, 2))
    a[0, 0] = b[:, 0] = 1
    by_action = np.sqrt((1 - np.sqrt(1 / 2)) / 2)
    assert epic_distance_tabular(a, b, 0, action_dist=[0.75, 0.25]) == pytest.approx(by_action)
    dynamics = np.full((2, 2, 2), 0.5)
    assert dard_distance_tabular(a, b, dynamics, 0, action_dist=[0.75, 0.25]) == pytest.approx(by_action)
    a, b = np.zeros((2, 2, 2, 2))
    a[0, :, 0] = b[:, :, 0] = 1
    by_state = np.sqrt((1 - np.sqrt(3 / 4)) / 2)
    assert epic_distance_tabular(a, b, 0, state_dist=[0.75, 0.25]) == pytest.approx(by_state)
    dynamics[:] = [0.75, 0.25]
    assert dard_distance_tabular(a, b, dynamics, 0, state_dist=[0.75, 0.25]) == pytest.approx(by_state)


def test_dard_by_hand() -> None:
    # action 0 stays, action 1 swaps; on the four possible transitions (2, -2, 0, 1) / 4 and (0, 0, -1, 0) / 4
    dynamics = np.zeros((2, 2, 2))
    dynamics[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 1
    a, b = np.zeros((2, 2, 2, 2))
    a[0, 0, 0] = 1
    b[0, 1, 0] = 1  # impossible, yet the transformation's last term asks for it
    assert dard_distance_tabular(a, b, dynamics, 0.5) == pytest.approx(np.sqrt((1 - 1 / np.sqrt(105)) / 2))


def test_starc_by_hand() -> None:
    # action k leads to state k; values (3, 1) / 4; canonical forms (5, -5, 1, -1) / 8 and (-3, 3, 1, -1) / 8
    dynamics = np.broadcast_to(np.eye(2), (2, 2, 2))
    a, b = np.zeros((2, 2, 2, 2))
    a[0, 0], b[0, 1] = 1, 1
    assert starc_distance_tabular(a, b, dynamics, 0.5) == pytest.approx(np.sqrt((1 + 7 / np.sqrt(65)) / 2))


def test_starc_sees_only_the_expected_reward_of_an_action() -> None:
    (a,) = rewards(7, 1)
    dynamics = DYNAMICS.copy()
    dynamics[..., 0] = 0
    dynamics /= dynamics.sum(2, keepdims=True)
    moved = a.copy()
    moved[..., 0] = 1e3  # impossible
    moved[..., 1] += 2 / dynamics[..., 1]
    moved[..., 2] -= 2 / dynamics[..., 2]
    assert starc_distance_tabular(a, moved, dynamics, DISCOUNT) == pytest.approx(0, abs=1e-9)
    assert epic_distance_tabular(a, moved, DISCOUNT) > 0.1


@given(arrays(np.int8, (3, 2, 2, 2), elements=st.integers(-3, 3)), st.sampled_from(["epic", "dard", "starc"]))
@settings(max_examples=60, deadline=None)
def test_pseudometric(three: np.ndarray, name: str) -> None:
    dynamics = np.array([[[0.5, 0.5], [1, 0]], [[0.25, 0.75], [0, 1]]])
    distance = {
        "epic": partial(epic_distance_tabular, discount=0.5),
        "dard": partial(dard_distance_tabular, transitions=dynamics, discount=0.5),
        "starc": partial(starc_distance_tabular, transitions=dynamics, discount=0.5),
    }[name]
    a, b, c = three
    assert distance(a, a) == 0
    assert 0 <= distance(a, b) <= 1
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c) + 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward_b": np.zeros((2, 2, 3))}, r"shapes \(2, 2, 2\) and \(2, 2, 3\): pass two of the same shape"),
        ({"reward_a": np.zeros((2, 2))}, r"pass two of the same shape \[S, A, S'\]"),
        ({"reward_a": np.full((2, 2, 2), np.nan)}, r"reward_a is nan at \(s, a, s'\) = \[0, 0, 0\]: replace it"),
        ({"discount": 1.0}, r"discount is 1.0: pass a value in \[0, 1\)"),
        ({"discount": float("nan")}, r"discount is nan: pass a value in \[0, 1\)"),
        (
            {"transitions": np.full((2, 2, 2), 0.4)},
            r"transitions sums to 0.8 at \(s, a\) = \[0, 0\]: divide by the sum",
        ),
        ({"transitions": np.full((2, 3, 2), 0.5)}, r"transitions has shape \(2, 3, 2\): pass \(2, 2, 2\)"),
        ({"transitions": np.tile([1.5, -0.5], (2, 2, 1))}, r"transitions holds a value that is negative"),
        ({"state_dist": [0.5, 0.6]}, r"state_dist sums to 1.1: divide by the sum"),
        ({"action_dist": [1.0]}, r"action_dist has shape \(1,\): pass \(2,\)"),
    ],
)
def test_bad_tables_are_refused(change: dict, message: str) -> None:
    good = {
        "reward_a": np.zeros((2, 2, 2)),
        "reward_b": np.zeros((2, 2, 2)),
        "discount": 0.5,
        "transitions": np.full((2, 2, 2), 0.5),
    }
    kinds = {
        epic_distance_tabular: {"reward_a", "reward_b", "discount", "state_dist", "action_dist"},
        dard_distance_tabular: {*good, "state_dist", "action_dist"},
        starc_distance_tabular: {*good},
    }
    for distance, names in kinds.items():
        if change.keys() <= names:
            with pytest.raises(ValueError, match=message):
                distance(**{k: v for k, v in (good | change).items() if k in names})
