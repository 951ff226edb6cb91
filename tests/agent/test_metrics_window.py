"""Aggregates over a window, against what one can count by hand and against a straightforward sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metrics.model import Histogram
from agent.metrics.window import AGGREGATES, observed, quantile, rates

POINTS = [(0.0, 4.0), (10.0, 10.0), (20.0, 1.0), (40.0, 3.0)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("avg", 4.5), ("min", 1.0), ("max", 10.0), ("last", 3.0), ("increase", 9.0), ("rate", 9 / 40)],
)
def test_aggregates(name: str, value: float) -> None:
    assert AGGREGATES[name](POINTS) == pytest.approx(value)


@pytest.mark.parametrize("name", AGGREGATES)
def test_nothing_says_nothing(name: str) -> None:
    assert AGGREGATES[name]([]) is None


def test_one_point_has_no_increase() -> None:
    assert AGGREGATES["increase"]([(0.0, 5.0)]) is None
    assert AGGREGATES["rate"]([(0.0, 5.0), (0.0, 6.0)]) is None


def test_rates_go_from_point_to_point() -> None:
    assert rates(POINTS) == [(10.0, 0.6), (20.0, 0.1), (40.0, 0.1)]


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=50))
def test_an_increase_is_the_sum_of_what_was_counted_whatever_was_reset(steps: list[tuple[int, bool]]) -> None:
    """A reset is only seen where the value falls, as everywhere: a counter that caught up in between tells nothing."""
    points, count, seen = [(0.0, 0.0)], 0, 0
    for turn, (grown, reset) in enumerate(steps, 1):
        before, count = count, grown if reset else count + grown
        seen += count - before if count >= before else count
        points.append((float(turn), float(count)))
    assert AGGREGATES["increase"](points) == seen


def test_what_was_observed_between_two_points_and_its_quantiles() -> None:
    before, after = Histogram((1.0, 2.0), (10, 10, 10), 50.0), Histogram((1.0, 2.0), (14, 13, 11), 61.0)
    between = observed([(0.0, before), (10.0, after)])
    assert between == Histogram((1.0, 2.0), (4, 3, 1), 11.0)
    assert between is not None
    assert quantile(between, 0.5) == pytest.approx(1.0)
    assert quantile(between, 0.25) == pytest.approx(0.5)
    assert quantile(between, 0.99) == 2.0  # as Prometheus: above the last bound nothing is known


def test_a_histogram_that_began_anew_counts_from_nothing() -> None:
    old, young = Histogram((1.0,), (100, 7), 80.0), Histogram((1.0,), (3, 9), 40.0)
    assert observed([(0.0, old), (10.0, young)]) == Histogram((1.0,), (3, 9), 40.0)
    assert observed([(0.0, Histogram((2.0,), (1, 1), 3.0)), (10.0, young)]) == young
    assert observed([(0.0, old)]) is None
    assert quantile(Histogram((1.0,), (0, 0), 0.0), 0.5) is None
