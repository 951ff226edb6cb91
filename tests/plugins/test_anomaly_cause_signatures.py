"""Signatures: each shipped one is found where it should be, nowhere else, and reads metrics that there are."""

import re
from pathlib import Path

import pytest

from agent.metrics.docs import shipped_entry_points, specs_of
from agent.metrics.model import Kind
from agent.own_specs import SPECS as OWN
from plugins.anomaly.cause.model import Meaning, Observed
from plugins.anomaly.cause.signatures import Condition, Signature, SignatureError, load, matches

SHIPPED = load()
SPECS = {spec.name: spec for spec in OWN} | {s.name: s for point in shipped_entry_points() for s in specs_of(point)}


def series(condition: Condition, moved: bool) -> list[Observed]:
    """Series for which a condition holds, or does not."""
    by = condition.by
    level = {"above": by + 1, "below": by - 1, "rises": 300.0, "falls": 30.0, "changes": 100.5, "happens": by + 0.1}[
        condition.move
    ]
    calm = {"above": by, "below": by, "rises": 100.0, "falls": 100.0, "changes": 100.0, "happens": by}[condition.move]

    def one(metric: str, now: float) -> Observed:
        spec = SPECS[metric]
        values = tuple(condition.labels.get(label, "a") for label in spec.labels)
        noise = 0.0 if condition.move == "happens" else 0.01  # any of it has happened
        before = [(10.0 * row, calm + noise * (row % 2)) for row in range(60)]
        during = [(600 + 10.0 * row, now) for row in range(6)]
        return Observed((metric, values), "x", Meaning.state, before, during, labels=spec.labels)

    found = [one(condition.metric, level if moved else calm)]
    return [*found, one(condition.of, 100.0)] if condition.of else found


def incident(
    signature: Signature, *, without: Condition | None = None, spoilt: Condition | None = None
) -> list[Observed]:
    found = [o for condition in signature.all for o in series(condition, condition is not without)]
    return found + [o for condition in signature.none for o in series(condition, condition is spoilt)]


def test_the_patterns_of_the_issue_are_there() -> None:
    names = {signature.name for signature in SHIPPED}
    wanted = {
        "memory pressure",
        "cold cache after restart",
        "hot key",
        "noisy tenant",
        "gpu throttling",
        "gpu error",
        "xid error",
        "origin slow",
    }
    assert names >= wanted | {"model regression", "access drift"}


@pytest.mark.parametrize("signature", SHIPPED, ids=lambda signature: signature.name)
def test_every_metric_and_label_of_a_signature_is_catalogued(signature: Signature) -> None:
    assert signature.metrics <= set(SPECS)
    for condition in (*signature.all, *signature.none):
        assert set(condition.labels) <= set(SPECS[condition.metric].labels)
        assert SPECS[condition.metric].kind is not Kind.info
    fields = set(re.findall(r"{(\w+)}", signature.component + signature.why))
    assert fields <= set(SPECS[signature.all[0].metric].labels)


@pytest.mark.parametrize("signature", SHIPPED, ids=lambda signature: signature.name)
def test_a_signature_is_found_if_all_of_it_is_there(signature: Signature) -> None:
    found = matches([signature], incident(signature))
    assert [cause.signature for cause in found] == [signature.name]
    assert "{" not in found[0].component
    assert found[0].why.endswith(".")
    # A number that only has to be another one, as a start time, tells nobody anything.
    assert re.search(r"\d", found[0].why) or all(condition.move == "changes" for condition in signature.all)
    assert found[0].series


@pytest.mark.parametrize("signature", SHIPPED, ids=lambda signature: signature.name)
def test_a_signature_is_not_found_if_part_of_it_is_missing_or_spoilt(signature: Signature) -> None:
    for condition in signature.all:
        assert matches([signature], incident(signature, without=condition)) == []
    for condition in signature.none:
        assert matches([signature], incident(signature, spoilt=condition)) == []
    assert matches([signature], []) == []


def test_a_restart_is_seen_in_a_time_as_it_is() -> None:
    """A Unix time is large: a minute is no spread of it."""
    (signature,) = [signature for signature in SHIPPED if signature.name == "cache restarted"]
    key = ("predis_cache_start_time_seconds", ())

    def found(now: float) -> list[str]:
        before = [(1.7e9 + 10 * row, 1.6999e9) for row in range(60)]
        series = Observed(key, "x", Meaning.state, before, [(1.7e9 + 600, now)])
        return [cause.why for cause in matches([signature], [series])]

    assert found(1.6999e9) == []
    (why,) = found(1.7e9 + 599)
    assert why.endswith("predis_cache_start_time_seconds changed 1 time.")


def test_an_origin_is_slow_once_people_notice() -> None:
    (signature,) = [signature for signature in SHIPPED if signature.name == "origin slow"]
    key = ("predis_origin_probe_duration_seconds", ("shop",))

    def found(slowest: float, rows: int = 2) -> list[str]:
        before = [(10.0 * row, 0.001 + 1e-5 * (row % 3)) for row in range(60)]
        during = [*((600.0 + 10 * row, slowest) for row in range(rows)), (640.0, 0.001)]  # it was mended since
        series = Observed(key, "x", Meaning.state, before, during, labels=("origin",))
        return [cause.component for cause in matches([signature], [series])]

    assert found(0.3) == ["origin:shop"]
    assert found(0.05) == [], "fifty times as long, and nobody minds"
    assert found(0.3, rows=1) == [], "one probe may have had bad luck"


def test_an_xid_that_came_once_is_found_with_its_number() -> None:
    (signature,) = [signature for signature in SHIPPED if signature.name == "xid error"]

    def errors(gpu: str, xid: str, *rates: float) -> Observed:
        key = ("predis_gpu_xid_errors_total", (gpu, xid))
        during = [(600 + 10.0 * row, rate) for row, rate in enumerate(rates)]
        return Observed(key, "x", Meaning.state, [(590.0, 0.0)], during, labels=("gpu", "xid"))

    found = matches([signature], [errors("0", "79", 0.0), errors("1", "79", 0.0, 0.1, 0.0, 0.0), errors("1", "48", 0)])
    assert [cause.component for cause in found] == ["gpu:1"]
    assert "reports XID 79" in found[0].why
    assert found[0].series == (("predis_gpu_xid_errors_total", ("1", "79")),)
    assert matches([signature], [errors("1", "79")]) == []


def test_all_xids_of_a_gpu_are_one_cause_that_names_each_up_to_a_bound() -> None:
    (signature,) = [signature for signature in SHIPPED if signature.name == "xid error"]

    def errors(gpu: str, xid: int) -> Observed:
        key = ("predis_gpu_xid_errors_total", (gpu, str(xid)))
        return Observed(key, "x", Meaning.state, [(590.0, 0.0)], [(600.0, 0.1)], labels=("gpu", "xid"))

    one, two = matches([signature], [errors("0", 48), errors("1", 31), errors("0", 79)])
    assert (one.component, two.component) == ("gpu:0", "gpu:1")
    assert "XID 48, 79, by" in one.why
    assert one.series == tuple(("predis_gpu_xid_errors_total", ("0", xid)) for xid in ("48", "79"))
    assert "XID 31, by" in two.why
    (many,) = matches([signature], [errors("0", xid) for xid in range(100, 160)])
    assert "XID 100, 101, 102, 103, 104 and 55 more, by" in many.why
    assert len(many.series) == 5
    assert many.why.count("predis_gpu_xid_errors_total was 0.1") == 1


def rates(metric: str, *values: float, before: float = 0.0, **labels: str) -> Observed:
    """A counter's rates in an incident."""
    key = (metric, tuple(labels.values()))
    during = [(600 + 10.0 * row, rate) for row, rate in enumerate(values)]
    rows = [(10.0 * row, before if row == 59 else 0.0) for row in range(60)]
    return Observed(key, "x", Meaning.state, rows, during, labels=tuple(labels))


def test_one_memory_error_that_was_not_corrected_is_found_and_corrected_ones_are_none() -> None:
    (signature,) = [signature for signature in SHIPPED if signature.name == "gpu error"]

    def found(kind: str, *values: float) -> list[str]:
        series = rates("predis_gpu_ecc_errors_total", *values, gpu="3", kind=kind)
        return [cause.component for cause in matches([signature], [series])]

    assert found("uncorrected", 0.0, 0.1, 0.0, 0.0) == ["gpu:3"], "at the newest value it is over"
    assert found("uncorrected", 0.0, 0.0) == []
    assert found("corrected", 5.0, 5.0) == []


@pytest.mark.parametrize(("flushed", "before"), [((0.1, 0.0, 0.0), 0.0), ((0.0, 0.0, 0.0), 0.1)])
def test_a_flush_is_no_model_regression_though_it_came_once(flushed: tuple[float, ...], before: float) -> None:
    """In a row of the incident, or in the one before: the hit ratio falls after it."""
    signature = next(s for s in SHIPPED if s.name == "access drift")
    fallen = [observed for condition in signature.all for observed in series(condition, True)]
    calm = rates("predis_flushes_total", 0.0, 0.0, 0.0)
    assert [cause.signature for cause in matches([signature], [*fallen, calm])] == ["access drift"]
    assert matches([signature], [*fallen, rates("predis_flushes_total", *flushed, before=before)]) == []


def test_conditions_are_about_one_and_the_same_gpu() -> None:
    signature = next(s for s in SHIPPED if s.name == "gpu throttling")
    throttled, clock = incident(signature)
    other = Observed(
        (clock.key[0], ("b", *clock.key[1][1:])), "x", Meaning.state, clock.before, clock.during, "", clock.labels
    )
    assert matches([signature], [throttled, other]) == []
    assert [cause.component for cause in matches([signature], [throttled, clock, other])] == ["gpu:a"]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\n', 1, "key 'all' is missing"),
        ('[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\nall = []\n', 5, "'all' is empty"),
        (
            '\n[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\nall = [{ metric = "m", is = "soars" }]\n',
            6,
            "'soars'",
        ),
        (
            '[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\nall = [{ metric = "m", is = "above" }]\n',
            5,
            "needs a number",
        ),
        (
            '[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\n'
            'all = [{ metric = "m", is = "above", by = 1, to = 2 }]\n',
            5,
            "'to' = 2: write a number, and only for what rises or falls",
        ),
        (
            '[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\nall = [{ metric = "m", is = "rises", rows = 0 }]\n',
            5,
            "'rows' = 0: write a whole number",
        ),
        ('[[signature]]\nname = "a"\ncomponent = "c"\nwhyy = "w"\nall = []\n', 4, "'whyy' is not known"),
    ],
)
def test_a_wrong_signature_is_named_by_file_and_line(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SignatureError, match=what) as raised:
        load(path)
    assert f"mine.toml:{line}" in str(raised.value)


def test_a_file_that_is_no_toml_and_a_name_used_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[[signature]\n")
    with pytest.raises(SignatureError, match="line 1"):
        load(path)
    entry = '[[signature]]\nname = "a"\ncomponent = "c"\nwhy = "w"\nall = [{ metric = "m", is = "rises" }]\n'
    path.write_text(entry * 2)
    with pytest.raises(SignatureError, match=r"mine\.toml:7.*already"):
        load(path)


def test_how_often_something_was_timed_is_not_told_as_a_time() -> None:
    slow = Signature("often", "cache", "it is busy", (Condition("predis_command_duration_seconds", "rises", 4.0, {}),))
    before = [(10.0 * row, 100 + 0.01 * (row % 2)) for row in range(60)]
    during = [(600 + 10.0 * row, 300.0) for row in range(6)]
    key = ("predis_command_duration_seconds", ("get",))
    seen = Observed(key, "cache", Meaning.state, before, during, "a second", ("command",), counts=True)
    (cause,) = matches([slow], [seen])
    assert cause.why == (
        "cache: it is busy: observations of predis_command_duration_seconds rose from 100 to 300 a second."
    )
