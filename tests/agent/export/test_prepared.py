"""What was prepared for a series is made once while the series lives, and goes some time after it."""

from agent.api import Kind, MetricSpec, Prepared, Series

SPEC = MetricSpec("predis_a", Kind.gauge, "A.", labels=("b",))


def test_it_is_made_once_for_a_series_that_is_there_and_forgotten_when_it_is_not() -> None:
    clock = [0.0]
    made: list[str] = []

    def make(series: Series) -> str:
        made.append(series.labels[0])
        return series.labels[0].upper()

    prepared = Prepared(make, keep=10.0, clock=lambda: clock[0])
    stays, goes = Series(SPEC, ("stays",)), Series(SPEC, ("goes",))
    # given two series, of which one is no longer asked for
    assert [prepared.of(stays), prepared.of(goes)] == ["STAYS", "GOES"]
    for clock[0] in (5.0, 10.0, 15.0, 20.0, 25.0):
        prepared.turn()
        assert prepared.of(stays) == "STAYS"
    # then only that one is gone
    assert made == ["stays", "goes"]
    assert len(prepared) == 1
    assert prepared.of(goes) == "GOES"
    assert made == ["stays", "goes", "goes"]


def test_two_series_of_the_same_name_and_labels_are_two() -> None:
    prepared = Prepared(lambda series: object())
    first, second = Series(SPEC, ("x",)), Series(SPEC, ("x",))
    assert prepared.of(first) is prepared.of(first)
    assert prepared.of(first) is not prepared.of(second)
