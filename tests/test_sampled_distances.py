"""Distances between rewards from samples: they converge to exact and published values, and keep the invariances."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.special import erf

from benchmark import sampled_distances
from benchmark.sampled_distances import Transitions, dard_distance, epic_distance, starc_distance
from tests.test_distances import ACTIONS, DISCOUNT, DISTANCES, DYNAMICS, STATES, UNEVEN, rewards, shaping


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
