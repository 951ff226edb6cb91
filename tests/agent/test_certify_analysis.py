"""Each fault that a detector, explainer, action, condition or forecaster may have is found by its certification."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import agent.certify.checks
from agent.scaffold.package import write_package

CHECKS = Path(agent.certify.checks.__file__)

JUDGED = "            if anomaly is not None:\n                yield anomaly"
DETECT = "        watched = dict(self._values(snapshot))"
FORGET = "        for key in self._learnt.keys() - snapshot.samples.keys():\n            del self._learnt[key]"
TAKEN = "        learnt.history.append((time, value))"
DETECTOR = {
    "gives no anomaly": (JUDGED, JUDGED + ".key", "predis_detect gave a tuple where agent.api.Anomaly was expected"),
    "of an unknown metric": ("series=key,", 'series=("predis_nobody", key[1]),', "which is not in the catalogue"),
    "with other labels": ("labels=labels,", "labels=(),", "with the labels ()"),
    "is slow": (DETECT, f"        __import__('time').sleep(60)\n{DETECT}", "takes longer than the deadline of 0.5 s"),
    "wants series": (DETECT, f"        min(snapshot.samples)\n{DETECT}", "of an empty snapshot, raises ValueError"),
    "takes NaN": (" or not math.isfinite(value)", "", "with nan for a value, gives an anomaly"),
    "wants its series to stay": (
        FORGET,
        "        for key in self._learnt:\n            snapshot.samples[key]",
        "when series have vanished, raises KeyError",
    ),
    "trusts the clock": (
        "min(learnt.since, time)",
        "learnt.since",
        "when the clock was set back an hour, gives an anomaly",
    ),
    "divides by the time that went by": (
        TAKEN,
        f"        1 / (time - learnt.history[-1][0]) if learnt.history else 0\n{TAKEN}",
        "when a snapshot comes twice, raises ZeroDivisionError",
    ),
    "gives one twice": (JUDGED, f"{JUDGED}\n                yield anomaly", "gives two anomalies of one series"),
    "scores without bounds": ("score=1 - p_value", "score=1 / p_value", "whose score is"),
    "has its band upside down": ("low=limit - 2 * half", "low=limit + half", "low is to be the lower one"),
    "has no channel": ('channel="limit"', 'channel=""', "without a channel"),
    "remembers too much": ("tuple(learnt.history)", "tuple(learnt.history) * 1001", "at most 1000 are kept"),
}

MOVED = "            moved = self._moved(anomaly, history)"
EXPLAINER = {
    "gives no cause": (
        "yield Cause(",
        "yield tuple, (",
        "predis_causes gave a tuple where agent.api.Cause was expected",
    ),
    "is slow": (MOVED, f"            __import__('time').sleep(60)\n{MOVED}", "longer than the deadline of 0.5 s"),
    "wants history": ("len(before) < self._config.rows or ", "", "without history, raises StatisticsError"),
    "wants a number": ("or not math.isfinite(anomaly.value)", "or 1 / int(anomaly.value) < 0", "raises ValueError"),
    "names nothing": ("Cause(metric,", 'Cause("",', "a cause whose component is ''"),
    "has no score": ("moved.score,", 'float("nan"),', "a cause whose score is nan"),
    "does not say why": ("moved.score, why,", 'moved.score, "",', "does not say why in a sentence"),
    "names series by their names": ("(moved.anomaly.series,)", "(metric,)", "each is to be (name, label values)"),
    "names one twice": ("ranked[: self._config.most]", "ranked[:1] * 2", "two causes of one component"),
    "has no order": ("(-item[1].deviations,", "(item[1].deviations,", "that are not in order, most probable first"),
}

RUN = "        noted, current = _noted(task), _read(path)"
WROTE = """return Outcome(True, f"wrote {noted['new']!r} to {path}", noted)"""
AGAIN = 'return Outcome(True, f"{path} was written before", noted)'
PLAN = '        text = f"would write {params.text!r} to {path}"'
TARGET = "    def target(self, params: FlagParams) -> str:"
CHECK = f"    def check(self, params: FlagParams) -> None:\n        {{}}\n\n{TARGET}"
ACTION = {
    "changes something in its plan": (PLAN, f'        _write(path, "planned")\n{PLAN}', "changes flags/read-only"),
    "notes in its plan": (
        PLAN,
        f'        _write(_note(task), "{{}}")\n{PLAN}',
        "changes a_action/",
    ),
    "has a plan that says nothing": (PLAN, '        return "ok"\n' + PLAN, "it is to be a sentence in one line"),
    "rests on what is no JSON": (
        'Plan(text, {"old": old},',
        'Plan(text, {"old": path},',
        "facts in the plan of a_action.flag cannot be kept as JSON",
    ),
    "cannot take back what was not begun": (
        'return Outcome(True, f"{path} is as it was already")',
        'return Outcome(False, "it is not raised")',
        "undo of a_action.flag does not take it back: it is not raised",
    ),
    "is done twice": (
        RUN,
        f'        with (task.host.data_dir / "count").open("a") as count:\n            count.write("x")\n{RUN}',
        "run of a_action.flag is done twice under one intent: the second run changes count",
    ),
    "tells twice": (
        RUN,
        '        from agent.api import Event\n\n        task.host.emit(Event(0.0, "flag", "raised"))\n' + RUN,
        "the second run changes events",
    ),
    "leaves it at undo": ("path.unlink(missing_ok=True)", "pass", "flags/read-only is not as before"),
    "says that undo failed": (
        'return Outcome(True, f"removed {path}")',
        'return Outcome(False, "no")',
        "undo of a_action.flag does not take it back: no",
    ),
    "takes back no further than its second run": (
        AGAIN,
        AGAIN.replace("noted)", 'noted | {"old": current})'),
        "flags/read-only is not as before",
    ),
    "forgets the way back": (AGAIN, AGAIN.replace(", noted", ""), "a second run of a_action.flag gives no undo"),
    "keeps a path in its undo": (WROTE, WROTE.replace("noted)", '{"old": path})'), "cannot be kept as JSON"),
    "knows too much": (
        'return Outcome(False, "it had not begun: nothing was changed")',
        'return Outcome(True, "done")',
        "says that it was done before it was",
    ),
    "knows too little": (
        'return Outcome(True, f"{path} was written", noted)',
        'return Outcome(False, "never")',
        "says that it was not done, after run said that it was",
    ),
    "has a target without a kind": ('return f"flag:{params.flag}"', "return params.flag", "it is to be KIND:NAME"),
    "gives no outcome": (WROTE, "return None", "gives NoneType: it is to give an Outcome"),
    "does not say what it did": (WROTE, 'return Outcome(True, "", noted)', "does not say what it did"),
    "raises": (RUN, f"        1 / 0\n{RUN}", "run of a_action.flag raises ZeroDivisionError"),
    "hangs": (
        TARGET,
        f"    deadline = 0.5\n\n{TARGET}\n        __import__('time').sleep(60)",
        "target of a_action.flag takes longer than the deadline of 0.5 s",
    ),
    "has no example": (', examples=["read-only"]', "", "cannot be tried, flag: Field required"),
    "gives what is wrong and does not raise it": (
        TARGET,
        CHECK.format("return False"),
        "gives bool: it is to give None",
    ),
    "raises in its check": (TARGET, CHECK.format("1 / 0"), "check of a_action.flag raises ZeroDivisionError"),
    "does not say what is wrong": (TARGET, CHECK.format("raise ValueError"), "and does not say what is wrong"),
    "names a key that it has not": (
        TARGET,
        CHECK.format("from agent.api import WrongKey; raise WrongKey('flg', 'there is no such flag')"),
        "check of a_action.flag raises WrongKey for 'flg', which is none of its keys",
    ),
}

ASK = "        # True, False, or None"
CONDITION = {
    "gives no verdict": (ASK, f"        return True\n{ASK}", "gives bool: it is to give a ConditionVerdict"),
    "does not say why": (ASK, f'        return ConditionVerdict(True, "")\n{ASK}', "does not say why"),
    "raises": (ASK, f"        1 / 0\n{ASK}", "raises ZeroDivisionError"),
    "wants series": (ASK, f"        min(now.snapshot.samples)\n{ASK}", "of an empty snapshot, raises ValueError"),
    "names metrics as text": ("return ()  #", 'return "predis_up"  #', "it is to give the names of metrics"),
    "has no example": (', examples=["/run/maintenance"]', "", "cannot be tried, path: Field required"),
}

KNOWN = "        if len(known) < self._config.rows or known[0][0] >= known[-1][0]:"
ROW = ", ".join(["(1.0,)"] * 6)
FORECASTER = {
    "wants history": (KNOWN, "        if known[0][0] >= known[-1][0]:", "without history, raises IndexError"),
    "knows without history": (
        KNOWN,
        f"        if not known:\n            return Forecast({ROW})\n{KNOWN}",
        "without history, gives a forecast of nothing",
    ),
    "gives no reason": ("return Forecast(problem=f", "return Forecast(model=f", "that does not say why: set problem"),
    "takes NaN": (" if math.isfinite(value)]", "]", "with NaN among the values, gives a forecast with values that are"),
    "crosses its intervals": ("(0.0, -Z80, Z80,", "(0.0, Z80, -Z80,", "whose low80 is above its middle"),
    "goes on for too long": ("range(max(1,", "range(max(99,", "that goes beyond the horizon of 3600 s"),
    "gives what cannot be": (
        "return value if request.high is None else min(value, request.high)",
        "return value",
        "outside of what is possible, 0 to 27",
    ),
    "loses a row": ("        times,\n        middle,", "        times,\n        middle[1:],", "are not of one length"),
    "forecasts the past": ("tuple(end + h", "tuple(begin + h", "whose times do not ascend from the last one"),
    "mixes up when": (
        "_reached(request, times, high95), _reached(request, times, low95)",
        "_reached(request, times, low95), _reached(request, times, high95)",
        "is not (likely, earliest, latest)",
    ),
    "gives no forecast": ("return _drift(request, known)", 'return "up"', "predis_forecast gave a str"),
    "always says no": ("return _drift(request, known)", 'return Forecast(problem="no")', "it is of no use"),
}
FAULTS = {
    f"{kind} {fault}": (kind, *change)
    for kind, faults in (
        ("detector", DETECTOR),
        ("explainer", EXPLAINER),
        ("action", ACTION),
        ("condition", CONDITION),
        ("forecaster", FORECASTER),
    )
    for fault, change in faults.items()
}


def certify(project: Path, check: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the checks with this in their name, as the guide shows."""
    command = [sys.executable, "-P", "-m", "pytest", "-p", "agent.certify.pytest_plugin", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(CHECKS.parent), "-rfEs", "--tb=short", "-k", check, str(CHECKS)]
    command += ["--predis-plugin", str(project)]
    command += [part for option in options for part in ("--predis-set", option)]
    with tempfile.TemporaryDirectory(prefix="certify-") as data:  # tmp_path is too long for the path of a unix socket
        command += ["--basetemp", f"{data}/data"]
        return subprocess.run(command, cwd=CHECKS.parent, capture_output=True, text=True, timeout=60)


def with_fault(folder: Path, kind: str, good: str, bad: str, file: str = "plugin.py") -> Path:
    """A package of a kind, with something replaced in it."""
    project = write_package(f"a_{kind}", kind, folder / "project")
    path = project / file if file == "README.md" else project / f"predis_a_{kind}" / file
    text = path.read_text()
    assert good in text
    path.write_text(text.replace(good, bad))
    return project


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(tmp_path: Path, fault: str) -> None:
    kind, good, bad, told = FAULTS[fault]
    project = with_fault(tmp_path, kind, good, bad)
    options = ("deadline=500ms",) if fault.endswith(" is slow") else ()
    done = certify(project, f"its_{kind}", *options)
    assert done.returncode == 1, done.stdout
    assert told in done.stdout


@pytest.mark.parametrize(
    ("kind", "good", "told"),
    [
        ("action", "`a_action.flag`", "README.md does not have a_action.flag of a_action.flag"),
        ("action", "`text`", "README.md does not have text of a_action.flag"),
        ("condition", "`path`", "README.md does not have path of a_condition"),
    ],
)
def test_what_rules_may_write_is_documented(tmp_path: Path, kind: str, good: str, told: str) -> None:
    done = certify(with_fault(tmp_path, kind, good, "it", "README.md"), "readme")
    assert done.returncode == 1, done.stdout
    assert told in done.stdout


def test_a_detector_that_finds_nothing_is_not_called_sound(tmp_path: Path) -> None:
    project = write_package("a_detector", "detector", tmp_path / "project")
    done = certify(project, "its_detector", 'metrics=["predis_other*"]')
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "it coped, and found nothing: no anomaly of it was seen" in done.stdout


def test_an_action_that_cannot_be_done_here_is_not_called_sound(tmp_path: Path) -> None:
    plan = '        raise PredisError("there is no disk")\n' + PLAN
    done = certify(with_fault(tmp_path, "action", PLAN, plan), "its_action")
    assert done.returncode == 0
    assert "none of its actions can be done here: a_action.flag: there is no disk" in done.stdout


def test_a_secret_in_what_an_action_says_is_found(tmp_path: Path) -> None:
    project = with_fault(
        tmp_path,
        "action",
        "(RaiseFlag(config.folder),)",
        "(RaiseFlag(config.token.get_secret_value() or config.folder),)",
    )
    path = project / "predis_a_action" / "plugin.py"
    text = path.read_text().replace("import BaseModel, Field", "import BaseModel, Field, SecretStr")
    path.write_text(text.replace("    folder: str =", '    token: SecretStr = SecretStr("")\n    folder: str ='))
    done = certify(project, "secrets")
    assert done.returncode == 1, done.stdout
    assert "a secret is shown: plan of a_action.flag: would write" in done.stdout
    assert "canary" not in done.stdout


def test_a_secret_in_a_cause_is_found(tmp_path: Path) -> None:
    why = ", usually {moved.usual:g}"
    project = with_fault(tmp_path, "explainer", why, f"{why} {{self._config.token.get_secret_value()}}")
    path = project / "predis_a_explainer" / "plugin.py"
    text = path.read_text().replace("from pydantic import Field", "from pydantic import Field, SecretStr")
    path.write_text(text.replace("    rows: int =", '    token: SecretStr = SecretStr("")\n    rows: int ='))
    done = certify(project, "secrets")
    assert done.returncode == 1, done.stdout
    assert "a secret is shown: cause Cause(" in done.stdout
    assert "canary" not in done.stdout
