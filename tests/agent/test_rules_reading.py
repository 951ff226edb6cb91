"""Files of rules: what is wrong is said with file, line, key and mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import Problem
from agent.rules import reading
from agent.rules.extension import Now, Verdict
from agent.rules.model import fill
from agent.rules.reading import Defaults, RuleReader, RuleSet
from tests.agent.rule_world import Act, ActParams, Tell, catalogue

GOOD = """
[[rule]]
name = "high"
when.threshold = { metric = "predis_memory_used_bytes", value = "1GiB" }
then = [{ action = "test.tell" }]
"""


class Compliance:
    """A kind of condition as a plugin gives it."""

    name = "compliance"
    help = "a check fails"
    Params = ActParams

    def metrics(self, params: ActParams) -> tuple[str, ...]:
        return ()

    def evaluate(self, params: ActParams, now: Now) -> Verdict:
        return Verdict(True, "a check fails", ("tenant:shop",), 3)


def read(folder: Path, text: str, *, actions: tuple[Any, ...] = (), pack: bool = False) -> RuleSet:
    file = folder / "rules.toml"
    file.write_text(text.lstrip("\n"))
    reader = RuleReader(catalogue(), (Act(), Tell(), *actions), (Compliance(),), defaults=Defaults())
    return reader.read([] if pack else [file], [file] if pack else [])


def only(folder: Path, text: str) -> Problem:
    """The one thing that is wrong."""
    found = read(folder, text)
    assert len(found.problems) == 1, [str(problem) for problem in found.problems]
    assert found.rules == []
    return found.problems[0]


def test_a_rule_has_its_parts_and_the_defaults(tmp_path: Path) -> None:
    (rule,) = read(tmp_path, GOOD).rules
    assert (rule.name, rule.where, rule.cooldown, rule.dry_run) == ("high", f"{tmp_path}/rules.toml:1", 1800.0, True)
    assert rule.limit.share == 0.5
    assert not rule.changes_state


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "what"),
    [
        ("used_bytes", "usde_bytes", 3, "when.threshold.metric", 'did you mean "predis_memory_used_bytes"'),
        ("1GiB", "90%", 3, "when.threshold.value", '"90%" is a share, and it is compared with a size'),
        ("1GiB", "250ms", 3, "when.threshold.value", "is a duration, and it is compared with a size"),
        ("1GiB", "many", 3, "when.threshold.value", '"many" is not a size; write a size, such as "1GiB"'),
        ("1GiB", "5 lots", 3, "when.threshold.value", '"5 lots" is not a size'),
        ("1GiB", "-5s", 3, "when.threshold.value", "is negative"),
        ('"1GiB"', '"1GiB", clear = "many"', 3, "when.threshold.clear", '"many" is not a size'),
        ('used_bytes", value = "1GiB"', 'used_bytes", value = "lots", aggregate = "rate"', 3, "aggregate", "a gauge"),
        ('"1GiB"', '"1GiB", labels = { tenant = "a" }', 3, "labels.tenant", "no label of predis_memory_used_bytes"),
        ('"1GiB"', '"1GiB", by = ["x"]', 3, "by[0]", "no label of predis_memory_used_bytes"),
        ('"1GiB"', '"1GiB", aggregate = "rate"', 3, "aggregate", "a gauge goes up and down"),
        ('"1GiB"', '"1GiB", aggregate = "until"', 3, "aggregate", "is no Unix time"),
        ('"1GiB"', '"1GiB", aggregate = "p999"', 3, "aggregate", "is no aggregate"),
        ('"1GiB"', '"1GiB", clear = "2GiB"', 3, "clear", "on the side of value"),
        ('"1GiB"', '"1GiB", op = "=>"', 3, "op", "is not a choice; did you mean"),
        ('"1GiB"', '"1GiB", windo = "5m"', 3, "windo", 'did you mean "window"'),
        ("threshold", "treshold", 3, "when.treshold", 'did you mean "threshold"'),
        ("threshold", "drfit", 3, "when.drfit", 'did you mean "drift"'),
        ("threshold", "weather", 3, "when.weather", "threshold, absence, drift, anomaly, incident, forecast"),
        ("test.tell", "test.tel", 4, "then[0].action", 'did you mean "test.tell"'),
        ("test.tell", "cache.memory", 4, "then[0].action", "is its plugin on?"),
        ('"test.tell"', '"test.tell", nam = "x"', 4, "then[0].nam", 'did you mean "name"'),
        ('"test.tell"', '"test.tell", size = "x"', 4, "then[0].size", "is not a whole number"),
        ('"test.tell"', '"test.tell", name = "{tenant}"', 4, "then[0].name", "no label of what the rule looks at"),
        ('"test.tell"', '"test.tell", deadline = "2d"', 4, "then[0].deadline", "is too much"),
        ('"high"', '"High Memory"', 2, "name", "pattern"),
        ("then", 'verify = { within = "5m" }\nthen', 4, "verify", "has no condition"),
        ("then", 'verify = { cleared = true, within = "5s" }\nthen', 4, "verify.within", "is over before"),
        ("then", 'escalate = [{ action = "test.act" }]\nthen', 4, "escalate[0].action", "escalate only tells"),
        ("then", 'limit = { share = "150%" }\nthen', 4, "limit.share", "is no share"),
        ("then", 'limit = { share = "half" }\nthen', 4, "limit.share", '"half" is no share'),
        ("then", 'cooldwn = "5m"\nthen', 4, "cooldwn", 'did you mean "cooldown"'),
        ("then", 'for = "soon"\nthen', 4, "for", "is not a duration"),
        ("then", 'approval = "yes"\nthen', 4, "approval", 'write "required" or "none"'),
        ('then = [{ action = "test.tell" }]', "", 1, "then", "is missing"),
    ],
)
def test_every_mistake_has_its_line_key_and_mend(
    tmp_path: Path, old: str, new: str, line: int, key: str, what: str
) -> None:
    assert old in GOOD
    problem = only(tmp_path, GOOD.replace(old, new))
    assert problem.file == str(tmp_path / "rules.toml")
    assert problem.line == line, problem
    assert problem.key.endswith(key), problem
    assert what in str(problem)
    assert problem.mend


def test_conditions_can_be_nested_and_each_mistake_in_them_is_found(tmp_path: Path) -> None:
    text = """
[[rule]]
name = "nested"
then = [{ action = "test.tell" }]
[rule.when]
all = [
    { threshold = { metric = "predis_memory_used_bytes", value = 1 } },
    { not = { any = [
        { absence = { metric = "predis_nothing" } },
        { anomaly = { metric = "predis_zzz*" } },
        { forecast = { metric = "predis_memory_used_bytes", reach = "5s", within = "1d" } },
        { drift = { metric = "predis_command_duration_seconds" } },
        { absence = { metric = "predis_cpu_busy_ratio" }, drift = { metric = "predis_cpu_busy_ratio" } },
        {},
    ] } },
]
"""
    problems = read(tmp_path, text).problems
    assert [(problem.line, problem.key.split(".any")[-1]) for problem in problems] == [
        *((8, "[0].absence.metric"), (9, "[1].anomaly.metric"), (10, "[2].forecast.reach")),
        *((11, "[3].drift.metric"), (12, "[4]"), (13, "[5]")),
    ]


def test_a_name_stands_for_one_rule_only(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD + GOOD)
    assert len(found.rules) == 1
    assert str(found.problems[0]).startswith(f"{tmp_path}/rules.toml:6: name: ")
    assert f"the rule in {tmp_path}/rules.toml:1 has this name, too" in str(found.problems[0])


def acting(name: str, metric: str, action: str) -> str:
    return f"""
[[rule]]
name = "{name}"
when.threshold = {{ metric = "{metric}", value = 1 }}
then = [{{ action = "{action}" }}]
"""


def test_rules_that_set_each_other_off_are_refused(tmp_path: Path) -> None:
    actions = (
        Act("move.max", ("predis_memory_max_bytes",)),
        Act("move.cpu", ("predis_cpu_busy_ratio",)),
        Act("move.used", ("predis_memory_used_bytes",)),
    )
    text = (
        acting("a", "predis_memory_used_bytes", "move.max")
        + acting("b", "predis_memory_max_bytes", "move.cpu")
        + acting("c", "predis_cpu_busy_ratio", "move.used")
        + acting("apart", "predis_cpu_busy_ratio", "test.act")
    )
    found = read(tmp_path, text, actions=actions)
    assert [rule.name for rule in found.rules] == ["apart"]
    (problem,) = found.problems
    assert "the rules a, b, c set each other off" in problem.what
    assert "a's move.max moves predis_memory_max_bytes, which b looks at" in problem.what
    # one of them that only tells, or that looks elsewhere, breaks the round
    assert read(tmp_path, text.replace('"move.cpu"', '"test.tell"'), actions=actions).problems == []


def test_a_rule_that_moves_its_own_metric_is_no_cycle(tmp_path: Path) -> None:
    actions = (Act("move.used", ("predis_memory_used_bytes",)),)
    assert read(tmp_path, acting("a", "predis_memory_used_bytes", "move.used"), actions=actions).problems == []


def test_a_rule_of_a_pack_whose_plugin_is_off_is_skipped_and_one_of_the_user_is_a_mistake(tmp_path: Path) -> None:
    text = GOOD.replace("test.tell", "cache.memory")
    found = read(tmp_path, text, pack=True)
    assert found.problems == []
    assert found.skipped[0][0] == "high"
    assert len(read(tmp_path, text).problems) == 1
    # other mistakes in a pack are mistakes
    assert len(read(tmp_path, GOOD.replace("1GiB", "90%"), pack=True).problems) == 1


def test_kinds_of_conditions_come_from_plugins_too(tmp_path: Path) -> None:
    text = GOOD.replace('threshold = { metric = "predis_memory_used_bytes", value = "1GiB" }', "compliance = {}")
    (rule,) = read(tmp_path, text).rules
    found = rule.when.evaluate(None)  # type: ignore[arg-type]
    assert (found.holds, dict(found.subjects), found.of) == (True, {"tenant:shop": {"tenant": "shop"}}, 3)


def test_a_file_that_is_no_toml_or_not_there_is_a_problem_with_its_line(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD + "[[rule\n").problems[0].line == 5
    found = RuleReader(catalogue()).read([tmp_path / "nothing.toml"])
    assert "there is no such file" in str(found.problems[0])


def test_a_disabled_rule_is_checked_and_not_used(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD + "enabled = false\n")
    assert (found.rules, found.problems, found.disabled) == ([], [], ["high"])
    assert len(read(tmp_path, GOOD.replace("1GiB", "9x") + "enabled = false\n").problems) == 1


def test_secrets_are_replaced_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(GOOD.replace('"test.tell"', '"test.tell", name = "${env:NAME}"'))
    reader = RuleReader(catalogue(), (Tell(),), environ={"NAME": "hunter2"})
    (rule,) = reader.read([tmp_path / "rules.toml"]).rules
    assert rule.steps[0].params({}).name == "hunter2"
    assert "hunter2" not in rule.steps[0].key({}, "person:x")
    missing = RuleReader(catalogue(), (Tell(),)).read([tmp_path / "rules.toml"])
    assert "environment variable NAME is not set" in str(missing.problems[0])


def test_too_many_rules_and_too_large_files_are_refused_before_they_cost_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_RULES", 5)
    found = read(tmp_path, "".join(GOOD.replace('"high"', f'"high-{number}"') for number in range(7)))
    assert [rule.name for rule in found.rules] == [f"high-{number}" for number in range(5)]
    assert [(problem.line, problem.what) for problem in found.problems] == [
        (26, "there are 7 rules: all are looked at at each interval, at most 5")
    ]
    large = only(tmp_path, "# much\n" * 1_000_000)
    assert large.what == "has 7,000,000 bytes, and no file of a configuration has more than 4,194,304"


def test_what_a_label_brings_in_is_not_looked_at_again() -> None:
    labels = {"tenant": "{command}", "command": "{tenant}"}
    assert fill({"a": ["{tenant}/{command}/{other}"], "b": 1}, labels) == {"a": ["{command}/{tenant}/{other}"], "b": 1}
    assert fill("{{tenant}}", labels) == "{{command}}"
