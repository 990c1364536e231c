"""Statistics against values worked out by hand, and intervals against their promise."""

import numpy as np
import pytest
from scipy import stats

from reports import statistics
from reports.statistics import (
    interval,
    iqm,
    iqm_interval,
    mean_interval,
    paired_difference,
    pooled_mean,
    probability_of_improvement,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert iqm([1, 2, 3, 4, 5, 6, 7, 1000]) == pytest.approx(4.5)  # 3, 4, 5, 6 remain
    assert iqm([[1, 2], [3, 6]]) == pytest.approx(2.5)  # 2, 3 remain
    assert iqm([1, 2, 6]) == pytest.approx(3)  # three values: nothing to cut


def test_no_interval_below_three_seeds() -> None:
    assert mean_interval([1.0, 2.0], rng()) is None
    assert iqm_interval([np.arange(3.0), np.arange(2.0)], rng()) is None
    assert interval([], pooled_mean, rng()) is None
    assert mean_interval([1.0, 2.0, 3.0], rng()) is not None


def test_equal_values_give_an_interval_of_no_width() -> None:
    assert mean_interval([5.0, 5.0, 5.0], rng()) == (5.0, 5.0)


def test_same_generator_same_interval() -> None:
    values = rng(1).normal(size=7)
    assert mean_interval(values, rng(2)) == mean_interval(values, rng(2))
    assert mean_interval(values, rng(2)) != mean_interval(values, rng(3))


def test_interval_of_many_values_is_students() -> None:
    values = rng(4).normal(3, 2, 100)
    found = mean_interval(values, rng())
    assert found == pytest.approx(stats.t.interval(0.95, 99, values.mean(), stats.sem(values)), abs=0.06)


def test_tasks_are_strata() -> None:
    """Tasks of very different level add nothing to the width: they are not resampled."""
    near = [rng(5).normal(0, 1, 5), rng(6).normal(0, 1, 5)]
    far = [near[0], near[1] + 1000]
    widths = [np.diff(interval(strata, pooled_mean, rng()))[0] for strata in (near, far)]
    assert widths[0] == pytest.approx(widths[1])


@pytest.mark.parametrize(
    ("tasks", "seeds", "least"),
    [(3, 3, 0.93), (3, 5, 0.93), (1, 3, 0.92)],  # three values on one task promise a little too much
)
def test_coverage_by_simulation(tasks: int, seeds: int, least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    source, draws = rng(7), 2000
    held = 0
    for _ in range(draws):
        strata = [task + source.normal(size=seeds) for task in range(tasks)]
        found = interval(strata, pooled_mean, source)
        assert found is not None
        held += found.low <= (tasks - 1) / 2 <= found.high
    assert least <= held / draws <= 0.97


def test_paired_difference_by_hand() -> None:
    ours, theirs = [np.array([3.0, 5.0, 4.0])], [np.array([1.0, 3.0, 2.0])]
    difference, found = paired_difference(ours, theirs, rng())
    assert difference == pytest.approx(2)
    assert found == pytest.approx((2, 2))  # every pair differs by 2, whatever the spread between pairs
    two = paired_difference([*ours, np.array([1.0])], [*theirs, np.array([5.0])], rng())
    assert two == (pytest.approx(-1), None)  # tasks count alike: (2 - 4) / 2; one seed gives no interval


def test_paired_difference_refuses_what_does_not_pair() -> None:
    with pytest.raises(ValueError, match=r"\[3\] and \[2\]"):
        paired_difference([np.zeros(3)], [np.zeros(2)], rng())


def test_probability_of_improvement_by_hand() -> None:
    ours, theirs = [np.array([3.0, 4.0, 5.0])], [np.array([1.0, 2.0, 6.0])]
    probability, found = probability_of_improvement(ours, theirs, rng())
    assert probability == pytest.approx(6 / 9)
    assert found is not None
    assert 0 <= found.low < probability < found.high <= 1
    assert probability_of_improvement([np.ones(3)], [np.ones(3)], rng())[0] == pytest.approx(0.5)
    both = probability_of_improvement([ours[0], np.zeros(3)], [theirs[0], np.ones(3)], rng())[0]
    assert both == pytest.approx((6 / 9 + 0) / 2)


def test_probability_without_spread_has_no_interval() -> None:
    assert probability_of_improvement([np.arange(3.0) + 9], [np.arange(3.0)], rng()) == (1.0, None)


def test_probability_refuses_different_tasks() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        probability_of_improvement([np.zeros(3)], [np.zeros(3)] * 2, rng())
