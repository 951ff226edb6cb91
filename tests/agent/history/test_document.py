"""The answers of /api/v1/history."""

import math

import pytest

from agent.errors import PredisError
from agent.history import document
from agent.history.document import history_document
from agent.metrics.model import Kind, MetricSpec, Sample
from tests.agent.history.making import START, Kept, level

SPEC = MetricSpec("predis_test_level", Kind.gauge, "A level.", "bytes", ("name",))


@pytest.fixture
def kept() -> Kept:
    made = Kept(None)
    made.run(10)
    return made


def ask(kept: Kept, **query: str) -> dict[str, object]:
    asked = {name.replace("_", ".", 1) if name.startswith("label") else name: value for name, value in query.items()}
    return history_document(kept.store, SPEC, asked.items())


def test_series_have_labels_and_points_and_the_metric_its_unit(kept: Kept) -> None:
    found = ask(kept, metric=SPEC.name, start=str(START + 30), end=str(START + 40), label_name="s7")
    assert found == {
        "metric": "predis_test_level",
        "unit": "bytes",
        "kind": "gauge",
        "series": [{"labels": {"name": "s7"}, "points": [[START + 30, 3.007], [START + 40, 4.007]]}],
    }


def test_infinity_is_null(kept: Kept) -> None:
    kept.store.accept("other", 10.0, {level(99): Sample("predis_test_level", math.inf, ("s99",))})
    found = ask(kept, metric=SPEC.name, start="0", end="1e10", label_name="s99")
    assert found["series"] == [{"labels": {"name": "s99"}, "points": [[kept.clock.now, None]]}]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({}, "which metric?"),
        ({"metric": "predis_test_level", "from": "5"}, "unknown parameters: from; known: metric"),
        ({"metric": "predis_test_level", "label_host": "a"}, "predis_test_level has no label host; its labels: name"),
        ({"metric": "predis_test_level", "start": "today"}, "start=today is not a time"),
        ({"metric": "predis_test_level", "end": "inf"}, "end=inf is not a time"),
    ],
)
def test_a_wrong_query_is_answered_with_a_sentence(kept: Kept, query: dict[str, str], complaint: str) -> None:
    with pytest.raises(PredisError, match=complaint.replace("?", r"\?")):
        ask(kept, **query)


def test_answers_have_a_size(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MOST_POINTS", 199)
    with pytest.raises(PredisError, match="more than 199 points"):
        ask(kept, metric=SPEC.name, start="0", end="1e10")
    monkeypatch.setattr(document, "MOST_SERIES", 19)
    with pytest.raises(PredisError, match="has 20 such series"):
        ask(kept, metric=SPEC.name, start="0", end="1e10")
