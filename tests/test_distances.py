"""Distances between rewards against values worked out by hand, and the properties that define them."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import erf

from benchmark import sampled_distances
from benchmark.distances import dard_distance_tabular, epic_distance_tabular, starc_distance_tabular
from benchmark.sampled_distances import Transitions, dard_distance, epic_distance, starc_distance

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


def test_epic_of_a_point_mass_is_the_published_one() -> None:
    """Of the demo that EPIC's authors publish: 512 samples, Dense to Sparse 0, either to GroundTruth 0.571963.

    Source: evaluating_rewards (Gleave et al. 2021), ``examples/epic_demo.ipynb`` at 47d766e. There positions, speeds
    and goals are standard normal and actions uniform. The canonical forms are, up to a constant, f(s') - a^2 with f
    either -d or [d < 0.05], d = |position - goal| half-normal of variance 2, so that the limit is known as well.
    """
    near, root, discount = 0.05, 2 / np.sqrt(np.pi), 1 - 1e-9  # of d's mean; theirs is 1, which the definition excludes
    inside, control = erf(near / 2), 4 / 45  # probability of [d < 0.05], variance of a^2
    shared = root * inside - root * (1 - np.exp(-(near**2) / 4)) + control
    r = shared / np.sqrt((2 - root**2 + control) * (inside * (1 - inside) + control))

    def far(obs: np.ndarray) -> np.ndarray:
        return np.abs(obs[:, 0] - obs[:, 2])

    def true(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return -far(next_obs) - acts[:, 0] ** 2

    def sparse(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return (far(obs) < near) - acts[:, 0] ** 2

    def dense(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return sparse(obs, acts, next_obs) + 10 * (far(obs) - discount * far(next_obs))

    def run(a: Callable[..., np.ndarray], b: Callable[..., np.ndarray], n: int) -> tuple[float, float]:
        rng = np.random.default_rng(0)
        obs, next_obs = rng.normal(size=(2, n, 3))
        return epic_distance(a, b, Transitions(obs, rng.uniform(-1, 1, (n, 1)), next_obs), discount, rng, 500)

    value, error = run(sparse, true, 512)
    assert abs(value - 0.571963) < 2 * np.sqrt(2) * error < 0.06  # two samples of 512
    assert run(sparse, dense, 512)[0] == pytest.approx(0, abs=1e-6)
    value, error = run(sparse, true, 10_000)
    assert abs(value - np.sqrt((1 - r) / 2)) < 3 * error < 0.02


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


def sample(count: int, seed: int, real: bool = False) -> Transitions:
    """Transitions of the uneven coverage, states and actions as one number each; real ones follow the dynamics."""
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.choice(STATES, (2, count, 1), p=UNEVEN["state_dist"]).astype(float)
    acts = rng.choice(ACTIONS, (count, 1), p=UNEVEN["action_dist"]).astype(float)
    return Transitions(obs, acts, simulate(obs, acts, rng) if real else next_obs)


def simulate(obs: np.ndarray, acts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One draw of the next state for each row."""
    upto = DYNAMICS[obs[:, 0].astype(int), acts[:, 0].astype(int)].cumsum(1)
    return (rng.random((len(obs), 1)) > upto).sum(1, keepdims=True).clip(max=STATES - 1).astype(float)


def looked_up(table: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda *columns: table[tuple(column[:, 0].astype(int) for column in columns)]


def one_hot(obs: np.ndarray) -> np.ndarray:
    return np.eye(STATES)[obs[:, 0].astype(int)]


def starc_uneven(a: np.ndarray, b: np.ndarray) -> float:
    """STARC by the uneven coverage's policy and norm: rewards and dynamics of its mean action fill the table."""
    states, actions = (np.array(UNEVEN[k]) for k in ("state_dist", "action_dist"))

    def canonical(reward: np.ndarray) -> np.ndarray:
        expected = (DYNAMICS * reward).sum(2)
        policy = np.einsum("sat,a->st", DYNAMICS, actions)
        value = np.linalg.solve(np.eye(STATES) - DISCOUNT * policy, expected @ actions)
        levelled = expected - value[:, None] + DISCOUNT * DYNAMICS @ value
        levelled = levelled * np.sqrt(states[:, None] * actions)
        return levelled / np.linalg.norm(levelled)

    return float(np.linalg.norm(canonical(a) - canonical(b)) / 2)


SAMPLED = {
    "epic": lambda a, b, n, m, seed: epic_distance(
        looked_up(a), looked_up(b), sample(n, seed), DISCOUNT, np.random.default_rng(seed), m
    ),
    "dard": lambda a, b, n, m, seed: dard_distance(
        looked_up(a), looked_up(b), sample(n, seed, True), simulate, DISCOUNT, np.random.default_rng(seed), m
    ),
    "starc": lambda a, b, n, m, seed: starc_distance(
        looked_up(a),
        looked_up(b),
        sample(n, seed, True),
        DISCOUNT,
        np.random.default_rng(seed),
        features=one_hot,
        simulate=simulate,
        draws=m,
    ),
}
EXACT = {"epic": DISTANCES["epic uneven"], "dard": DISTANCES["dard uneven"], "starc": starc_uneven}


@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_distances_converge_to_the_tabular_value(name: str) -> None:
    a, b = rewards(8, 2)
    exact = EXACT[name](a, b)
    found = [SAMPLED[name](a, b, n, m, n) for n, m in ((300, 200), (20_000, 400))]
    for value, error in found:
        assert 0 < abs(value - exact) < 4 * error
    assert found[1][1] < 0.5 * found[0][1]
    assert found[1][0] == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [("epic", 300, 200), ("epic", 3000, 20), ("dard", 300, 200), ("dard", 3000, 20), ("starc", 300, 50)],
)
def test_standard_error_is_the_spread_over_samples(name: str, n: int, m: int) -> None:
    a, b = rewards(9, 2)
    found = np.array([SAMPLED[name](a, b, n, m, i) for i in range(50)])
    assert 0.7 < found[:, 1].mean() / found[:, 0].std() < 1.4


@pytest.mark.parametrize("name", ["epic", "dard", "starc"])
def test_sampled_distances_keep_the_invariances_on_every_sample(name: str) -> None:
    """With deterministic dynamics; noise in S' is forgotten in expectation only."""
    (a,) = rewards(10, 1)

    def deterministic(obs: np.ndarray, acts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return (obs + acts + 1) % STATES

    def run(b: Callable[..., np.ndarray], other: Callable[..., np.ndarray]) -> tuple[float, float]:
        obs, acts, next_obs = sample(100, 0)
        ways = {"discount": DISCOUNT, "rng": np.random.default_rng(0), "resamples": 5}
        if name == "epic":
            return epic_distance(b, other, Transitions(obs, acts, next_obs), canonical_samples=20, **ways)
        real = Transitions(obs, acts, deterministic(obs, acts, ways["rng"]))
        if name == "dard":
            return dard_distance(b, other, real, deterministic, **ways)
        return starc_distance(b, other, real, features=one_hot, **ways)

    zero, shaped, opposite = (looked_up(r) for r in (0 * a, 3 * a + shaping(10), shaping(11) - 2 * a))
    assert run(looked_up(a), shaped) == pytest.approx((0, 0), abs=1e-6)
    assert run(looked_up(a), opposite) == pytest.approx((1, 0), abs=1e-6)
    for kind in (np.float64, np.float32):
        assert run(looked_up(shaping(10).astype(kind)), zero) == (0, 0)
        assert run(looked_up(a), zero) == pytest.approx((0.5, 0))


def test_starc_of_a_continuous_task_forgets_smooth_potentials() -> None:
    """With the default features, which span a smooth potential only nearly: what is left of it is small."""
    rng = np.random.default_rng(0)
    obs, acts = rng.uniform(-2, 2, (4000, 2)), rng.uniform(-1, 1, (4000, 2))

    def move(obs: np.ndarray, acts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.clip(obs + 0.2 * acts, -2, 2)

    def reward(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return np.exp(-np.linalg.norm(next_obs - 1, axis=1)) - 0.1 * acts[:, 0]

    def potential(obs: np.ndarray) -> np.ndarray:
        return 20 * np.sin(obs).sum(1) + obs.prod(1) ** 2

    def shaped(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return reward(obs, acts, next_obs) + 0.95 * potential(next_obs) - potential(obs)

    steps = Transitions(obs, acts, move(obs, acts, rng))
    found, _ = starc_distance(reward, shaped, steps, 0.95, rng, resamples=2)
    assert found < 0.05 < starc_distance(reward, lambda o, a, n: -a[:, 1], steps, 0.95, rng, resamples=2)[0]


def test_chunks_change_nothing_but_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rewards(11, 2)
    largest = []

    def watched(*columns: np.ndarray) -> np.ndarray:
        largest.append(len(columns[0]))
        return looked_up(a)(*columns)

    found = []
    for chunk in (10**6, 90):
        monkeypatch.setattr(sampled_distances, "CHUNK", chunk)
        found.append(
            epic_distance(watched, looked_up(b), sample(70, 0), DISCOUNT, np.random.default_rng(0), 40, 5).distance
        )
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    assert max(largest) == 70 * 40
    assert max(largest[3:]) <= 90


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acts": np.zeros((3, 1))}, r"acts \(3, 1\).*the same N >= 2"),
        ({"discount": -0.1}, r"discount is -0.1"),
        ({"canonical_samples": 30}, "canonical_samples is 30.*pass a positive multiple of 20"),
        ({"resamples": 1}, "resamples 1:.*at least 2"),
        ({"reward_a": lambda obs, acts, next_obs: obs}, r"reward returned shape \(4, 1\) on 4 transitions"),
        ({"reward_b": lambda obs, acts, next_obs: np.inf * (1 + obs[:, 0])}, "not finite"),
    ],
)
def test_bad_samples_are_refused(change: dict, message: str) -> None:
    def reward(obs: np.ndarray, acts: np.ndarray, next_obs: np.ndarray) -> np.ndarray:
        return obs[:, 0]

    columns = {name: change.pop(name, np.zeros((4, 1))) for name in ("obs", "acts", "next_obs")}
    shared = {"reward_a": reward, "reward_b": reward, "coverage": Transitions(**columns), "discount": 0.5, **change}
    for distance, more in ((epic_distance, {}), (dard_distance, {"simulate": simulate})):
        with pytest.raises(ValueError, match=message):
            distance(rng=np.random.default_rng(0), **more, **shared)
