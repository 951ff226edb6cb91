"""The catalogue refuses names that Prometheus' conventions refuse, and samples that are not as declared."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metrics.catalogue import Catalogue, CatalogueError, spec_problems
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.metrics.model import Exemplar, Histogram, Kind, MetricSpec, Sample
from agent.metrics.self_metrics import PLUGIN_NAME, SPECS

GAUGE = MetricSpec("predis_shelf_bytes", Kind.gauge, "Room on a shelf.", "bytes", ("shelf",))
COUNTER = MetricSpec("predis_visits_total", Kind.counter, "Visits.")
HISTOGRAM = MetricSpec("predis_visit_duration_seconds", Kind.histogram, "How long visits are.", "seconds")
INFO = MetricSpec("predis_shop_info", Kind.info, "Which shop this is.", "", ("town",))


def catalogue(*specs: MetricSpec) -> Catalogue:
    made = Catalogue()
    made.add("shop", specs or (GAUGE, COUNTER, HISTOGRAM, INFO))
    return made


@pytest.mark.parametrize("spec", [GAUGE, COUNTER, HISTOGRAM, INFO], ids=lambda spec: spec.name)
def test_a_good_declaration_is_accepted(spec: MetricSpec) -> None:
    assert spec_problems(spec) == []
    assert catalogue(spec).get(spec.name) == spec
    assert catalogue(spec).owner(spec.name) == "shop"


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (replace(GAUGE, name="shelf_bytes"), "begin with predis_"),
        (replace(GAUGE, name="predis_Shelf_bytes"), "lower-case"),
        (replace(GAUGE, name="predis_shelf-bytes"), "lower-case"),
        (replace(GAUGE, name="predis__bytes"), "lower-case"),
        (replace(COUNTER, name="predis_visits"), "ends with _total"),
        (replace(GAUGE, name="predis_shelf_bytes_total"), "ends with _total"),
        (replace(INFO, name="predis_shop"), "ends with _info"),
        (replace(GAUGE, name="predis_shelf_info", unit=""), "ends with _info"),
        (replace(HISTOGRAM, name="predis_visit_sum", unit=""), "belong to the series of histograms"),
        (replace(GAUGE, name="predis_shelf_kilobytes", unit=""), "use bytes"),
        (replace(HISTOGRAM, name="predis_visit_milliseconds", unit="milliseconds"), "use seconds"),
        (replace(GAUGE, name="predis_full_percent", unit=""), "use ratio"),
        (replace(GAUGE, unit="parsecs"), "no base unit"),
        (replace(GAUGE, name="predis_shelf"), "must end with its unit: _bytes"),
        (replace(COUNTER, unit="bytes"), "must end with its unit: _bytes_total"),
        (replace(GAUGE, unit=""), "declare unit='bytes'"),
        (replace(COUNTER, name="predis_visit_counter_total"), "does not say the metric's kind"),
        (replace(GAUGE, help=" "), "one line"),
        (replace(GAUGE, help="two\nlines"), "one line"),
        (replace(GAUGE, help=7), "help must be text, not 7"),  # type: ignore[arg-type]
        (replace(GAUGE, unit=b"bytes"), "unit must be text, not b'bytes'"),  # type: ignore[arg-type]
        (replace(GAUGE, kind="gauge"), "kind must be one of Kind's: gauge,"),  # type: ignore[arg-type]
        (replace(GAUGE, labels="shelf"), "labels must be a tuple of text"),  # type: ignore[arg-type]
        (replace(GAUGE, labels=(1,)), "labels must be a tuple of text"),  # type: ignore[arg-type]
        (replace(GAUGE, labels=None), "labels must be a tuple of text"),  # type: ignore[arg-type]
        (replace(HISTOGRAM, bounds=("1", "2")), "bounds must be a tuple of numbers"),  # type: ignore[arg-type]
        (replace(HISTOGRAM, bounds=None), "bounds must be a tuple of numbers"),  # type: ignore[arg-type]
        (replace(GAUGE, labels=("Shelf",)), "label 'Shelf'"),
        (replace(GAUGE, labels=("le",)), "label 'le'"),
        (replace(GAUGE, labels=("shelf", "shelf")), "twice"),
        (replace(GAUGE, bounds=(1.0,)), "only histograms"),
        (replace(HISTOGRAM, bounds=(2.0, 1.0)), "ascending"),
    ],
)
def test_a_bad_declaration_is_refused_with_the_mend(spec: MetricSpec, complaint: str) -> None:
    with pytest.raises(CatalogueError, match=f"shop: metric {spec.name}: .*{complaint}"):
        catalogue(spec)


def test_what_is_refused_adds_nothing() -> None:
    made = Catalogue()
    with pytest.raises(CatalogueError):
        made.add("shop", (COUNTER, replace(GAUGE, unit="")))
    assert len(made) == 0


def test_a_name_belongs_to_one_plugin_and_is_declared_once() -> None:
    made = catalogue(COUNTER)
    with pytest.raises(CatalogueError, match="already declared by shop"):
        made.add("other", (COUNTER,))
    with pytest.raises(CatalogueError, match="declared twice"):
        made.add("other", (GAUGE, GAUGE))
    made.remove("shop")
    made.add("other", (COUNTER,))
    assert made.owner(COUNTER.name) == "other"


def test_names_that_only_differ_in_total_are_refused_since_openmetrics_cannot_tell_them_apart() -> None:
    with pytest.raises(CatalogueError, match="cannot tell it from predis_visits_total"):
        catalogue(COUNTER, MetricSpec("predis_visits", Kind.gauge, "Visits now."))


@pytest.mark.parametrize("name", [None, 7, [], b"predis_shelf"])
def test_a_name_that_is_no_text_is_named(name: object) -> None:
    spec = MetricSpec(name, Kind.gauge, "A shelf.")  # type: ignore[arg-type]
    with pytest.raises(CatalogueError, match=r"shop: metric .*: name must be text"):
        Catalogue().add("shop", (spec, spec))


def test_something_else_than_a_spec_is_named() -> None:
    with pytest.raises(CatalogueError, match="not a MetricSpec"):
        Catalogue().add("shop", ["predis_visits_total"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (Sample("predis_shelf_bytes", 3, ("top",)), None),
        (Sample("predis_shelf_bytes", -3.5, ("œuvre",)), None),
        (Sample("predis_visits_total", 0), None),
        (Sample("predis_shop_info", 1, ("Delft",)), None),
        (Sample("predis_visit_duration_seconds", Histogram((0.1, 1.0), (1, 0, 2), 7.5)), None),
        (Sample("predis_unheard_of", 1), "uncatalogued"),
        (Sample("predis_shelf_bytes", 3), "labels"),
        (Sample("predis_shelf_bytes", 3, ("top", "left")), "labels"),
        (Sample("predis_shelf_bytes", 3, (1,)), "labels"),  # type: ignore[arg-type]
        (Sample("predis_shelf_bytes", 3, ["top"]), "labels"),  # type: ignore[arg-type]
        (Sample("predis_visits_total", 3, []), "labels"),  # type: ignore[arg-type]
        (Sample("predis_shelf_bytes", 3, ("x" * 513,)), "labels"),
        (Sample("predis_shelf_bytes", 3, ("not utf-8: \udcff",)), "labels"),
        (Sample("predis_shelf_bytes", float("nan"), ("top",)), "value"),
        (Sample("predis_shelf_bytes", float("inf"), ("top",)), "value"),
        (Sample("predis_shelf_bytes", "3", ("top",)), "value"),  # type: ignore[arg-type]
        (Sample("predis_shelf_bytes", None, ("top",)), "value"),  # type: ignore[arg-type]
        (Sample("predis_visits_total", -1), "value"),
        (Sample("predis_shop_info", 2, ("Delft",)), "value"),
        (Sample("predis_visits_total", Histogram((1.0,), (0, 0), 0.0)), "value"),
        (Sample("predis_visit_duration_seconds", 3), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1,), 1.0)), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, -1), 1.0)), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((2.0, 1.0), (1, 1, 1), 1.0)), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0, float("inf")), (1, 1, 1), 1.0)), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, 1), float("nan"))), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, 2**63 - 2), 1.0)), None),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, 2**63 - 1), 1.0)), "value"),
        (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, float("nan")), 1.0)), "value"),  # type: ignore[arg-type]
        *(
            (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, 2), 9.0, (exemplar,))), reason)
            for exemplar, reason in (
                (Exemplar((("id", "x" * 126),), 0.5, 1.5e9), None),
                (Exemplar((("id", "x" * 127),), 0.5, 1.5e9), "value"),
                (Exemplar((("id", "x" * 60), ("no", "x" * 65)), 0.5, 1.5e9), "value"),
                (Exemplar((("id", "1"), ("id", "2")), 0.5, 1.5e9), "value"),
                (Exemplar((("Not a name", "1"),), 0.5, 1.5e9), "value"),
                (Exemplar((("id", 1),), 0.5, 1.5e9), "value"),  # type: ignore[arg-type]
                (Exemplar((), float("nan"), 1.5e9), "value"),
                (Exemplar((), 0.5, float("nan")), "value"),
                (Exemplar((), 0.5, -1.0), "value"),
                (Exemplar((), 0.5, 1e12), "value"),
                ("an exemplar", "value"),
            )
        ),
        *(
            (Sample("predis_visit_duration_seconds", Histogram((1.0,), (1, 2), 9.0, (), fine)), reason)
            for fine, reason in (
                (Histogram((0.5, 1.0, 2.0), (1, 0, 1, 1), 9.0), None),
                (Histogram((0.5, 1.0, 2.0), (1, 0, 1, 2), 9.0), "value"),
                (Histogram((0.5, 1.0, 2.0), (1, 0, 1, 1), 8.0), "value"),
                (Histogram((0.5, 1.0), (1, 2, -1, 1), 9.0), "value"),
                (Histogram((1.0,), (1, 2), 9.0, (), Histogram((1.0,), (1, 2), 9.0)), "value"),
                ((1, 2), "value"),
            )
        ),
    ],
)
def test_a_sample_is_checked_against_its_declaration(sample: Sample, reason: str | None) -> None:
    assert catalogue().check(sample) == reason


def test_a_sample_of_another_plugins_metric_counts_as_uncatalogued() -> None:
    assert catalogue().check(Sample("predis_visits_total", 1), "shop") is None
    assert catalogue().check(Sample("predis_visits_total", 1), "thief") == "uncatalogued"


@given(st.text(max_size=30))
def test_whatever_text_a_label_is_it_is_accepted_only_if_it_can_be_written_as_utf8(label: str) -> None:
    reason = catalogue().check(Sample("predis_shelf_bytes", 1, (label,)))
    try:
        label.encode()
    except UnicodeEncodeError:
        assert reason == "labels"
    else:
        assert reason is None


def test_all_that_is_shipped_fits_one_catalogue_of_more_than_25_metrics() -> None:
    made = Catalogue()
    made.add(PLUGIN_NAME, SPECS)
    for point in shipped_entry_points():
        made.add(point.name, specs_of(point))
    assert len(made) >= 25
    assert {spec.kind for spec in made} == set(Kind)
    names = {spec.name for spec in made}
    for wanted in ("command_duration_seconds", "keyspace_hits_total", "evicted_keys_total", "memory_bytes"):
        assert f"predis_{wanted}" in names
