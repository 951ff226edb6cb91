"""What an action's own check says of a rule: which names are not in its plugin's configuration, before it matters."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import Field

from agent.api import PredisError, WrongKey
from agent.config.models import PluginConfig, Section
from agent.rules.reading import RuleReader, RuleSet
from agent.rules.service import added
from tests.agent.rule_world import Act, catalogue

DEADLINE = 0.2
RULES = """
[[rule]]
name = "high"
when.threshold = { metric = "predis_tenant_memory_bytes", by = ["tenant"], value = "1GiB" }
then = [
  { action = "named.act", name = "one" },
  { action = "named.act", name = "two", about = ["x", "y"], text = "of {tenant}" },
]
"""
SOUND = """
[[rule]]
name = "sound"
when.threshold = { metric = "predis_cpu_busy_ratio", value = "90%" }
then = [{ action = "event" }]
"""


class Params(Section):
    """Keys with names in them."""

    name: str
    about: list[str] = Field(default=[])
    text: str = ""


class Named(Act):
    """Works on what it knows."""

    def __init__(self, check: Callable[[Params], Any]) -> None:
        super().__init__("named.act")
        self.Params = Params
        self.check = check


def read(folder: Path, check: Callable[[Params], Any], text: str = RULES, **how: Any) -> RuleSet:
    """The rules, and what is wrong with them, where a plugin gives this action."""
    file = folder / "rules.toml"
    file.write_text(text.lstrip("\n") + SOUND)
    plugin: Any = SimpleNamespace(
        name="named",
        config=PluginConfig(deadline=DEADLINE),
        implements=lambda hook: hook == "predis_actions",
        actions=lambda: [Named(check)],
    )
    actions, _, problems = added([plugin])
    assert problems == []
    pack = how.pop("pack", False)
    return RuleReader(catalogue(), actions, **how).read([] if pack else [file], [file] if pack else [])


def knows(*names: str) -> Callable[[Params], None]:
    """A check that knows these names."""

    def check(params: Params) -> None:
        if params.name not in names:
            raise WrongKey("name", f"there is no thing {params.name}: add it")
        for number, name in enumerate(params.about):
            if name not in names:
                raise WrongKey(("about", number), f"there is no thing {name}: add it")

    return check


def told(found: RuleSet) -> list[str]:
    return [f"{problem.line} {problem.key}: {problem.what}" for problem in found.problems]


def test_a_name_that_is_not_there_is_told_with_line_and_key(tmp_path: Path) -> None:
    found = read(tmp_path, knows("one", "x"))
    assert told(found) == ["6 rule[0].then[1].name: there is no thing two: add it"]
    assert [rule.name for rule in found.rules] == ["sound"]
    found = read(tmp_path, knows("one", "two", "x"))
    assert told(found) == ["6 rule[0].then[1].about[1]: there is no thing y: add it"]
    found = read(tmp_path, knows("one", "two", "x", "y"))
    assert told(found) == []
    assert [rule.name for rule in found.rules] == ["high", "sound"]


def test_what_is_said_without_a_key_belongs_to_the_action(tmp_path: Path) -> None:
    for kind in (PredisError, ValueError):

        def check(params: Params, kind: type[Exception] = kind) -> None:
            if params.name == "one":
                raise kind("it is closed\nat night")

        (problem,) = read(tmp_path, check).problems
        assert str(problem).endswith(":5: rule[0].then[0]: it is closed at night")


def test_what_a_label_stands_for_is_not_known_yet(tmp_path: Path) -> None:
    text = RULES.replace('name = "two"', 'name = "{tenant}"')
    assert told(read(tmp_path, knows("one", "x", "y"), text)) == []
    # another key beside it is, also where the key that is wrong has a list or a table with a label somewhere in it
    assert told(read(tmp_path, knows("one", "tenant", "x"), text)) == [
        "6 rule[0].then[1].about[1]: there is no thing y: add it"
    ]

    def odd(params: Params) -> None:
        if params.about:
            raise WrongKey("about", "is odd")

    assert told(read(tmp_path, odd, text.replace('"x"', '"{tenant}"'))) == ["6 rule[0].then[1].about: is odd"]


def test_a_rule_of_a_pack_that_names_what_is_not_there_is_not_used(tmp_path: Path) -> None:
    found = read(tmp_path, knows("one"), pack=True)
    assert told(found) == []
    assert found.skipped == [("high", "there is no thing two: add it")]


def test_without_a_configuration_nothing_is_held_against_a_rule(tmp_path: Path) -> None:
    found = read(tmp_path, knows("one"), configured=False)
    assert told(found) == []
    assert [rule.name for rule in found.rules] == ["high", "sound"]
    assert [str(problem).split("rule[0]")[1] for problem in found.unfit] == [
        ".then[1].name: there is no thing two: add it"
    ]


def test_a_secret_is_not_repeated(tmp_path: Path) -> None:
    text = RULES.replace('"two"', '"${env:NAME}"')
    found = read(tmp_path, knows("one"), text, environ={"NAME": "hunter22"})
    (problem,) = found.problems
    assert "there is no thing" in problem.what
    assert "hunter22" not in str(problem)


class Unspeakable(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class OddKey(WrongKey):
    """Its key is none."""

    def __init__(self) -> None:
        super().__init__("name", "is odd")
        self.key = ([],)  # type: ignore[assignment]


def _raises(error: BaseException) -> Callable[[Params], Any]:
    def check(params: Params) -> None:
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "what"),
    [
        (lambda params: False, "TypeError: check gives bool and should give None or raise WrongKey"),
        (lambda params: (yield), "TypeError: check gives generator and should give None"),
        (lambda params, old, new: None, "TypeError: "),
        ("name", "TypeError: 'str' object is not callable"),
        (lambda params: sys.exit(3), "it called sys.exit(3)"),
        (_raises(KeyboardInterrupt()), "KeyboardInterrupt"),
        (_raises(Unspeakable()), "Unspeakable, which cannot be shown"),
        (_raises(ZeroDivisionError("by 0")), "ZeroDivisionError: by 0"),
    ],
)
def test_a_check_that_is_broken_costs_its_rule_and_no_other(tmp_path: Path, check: Any, what: str) -> None:
    found = read(tmp_path, check)
    assert [rule.name for rule in found.rules] == ["sound"]
    assert len(found.problems) == 2, "one for each use"
    for problem in found.problems:
        assert problem.what.startswith("named.act cannot say whether it can be used so: ")
        assert what in problem.what
        assert problem.mend == "mend the plugin"


def test_a_key_that_is_none_is_told_all_the_same(tmp_path: Path) -> None:
    found = read(tmp_path, _raises(OddKey()))
    assert [problem.what for problem in found.problems] == ["is odd", "is odd"]
    assert [problem.line for problem in found.problems] == [5, 6]


def test_a_check_that_hangs_costs_one_deadline_and_its_rule(tmp_path: Path) -> None:
    let_go = threading.Event()
    began = time.monotonic()
    found = read(tmp_path, lambda params: let_go.wait(30))
    took = time.monotonic() - began
    let_go.set()
    assert DEADLINE <= took < DEADLINE + 5
    assert [rule.name for rule in found.rules] == ["sound"]
    assert "named.act cannot say whether it can be used so: the plugin named does not say within" in str(
        found.problems[0]
    )
