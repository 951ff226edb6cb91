"""Plugins that cannot be loaded, each as a real package: it is reported with its mend, and the others run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.config import LoadedConfig, load_config
from agent.errors import Problem
from agent.metrics.catalogue import Catalogue
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager
from tests.agent.foreign import GOOD, Foreign, foreign

__all__ = ["foreign"]


def configured(folder: Path, text: str = "", overrides: tuple[str, ...] = ()) -> LoadedConfig:
    (folder / "agent.toml").write_text(text)
    return load_config(folder / "agent.toml", overrides, {})


def loaded(folder: Path, text: str = "", overrides: tuple[str, ...] = (), deadline: float = 20.0) -> PluginManager:
    manager = PluginManager(configured(folder, text, overrides), load_deadline=deadline)
    manager.load()
    return manager


def culprit(manager: PluginManager, name: str) -> tuple[LoadedPlugin, Problem]:
    """The one plugin that failed, and its problem; all others are there."""
    assert {plugin.name for plugin in manager.plugins.values() if plugin.state == "failed"} == {name}
    assert {"cache_metrics", "host_metrics", "prometheus", "neighbour"} <= {plugin.name for plugin in manager.active}
    plugin = manager.plugins[name]
    assert plugin.instance is None
    assert not plugin.implements("predis_collect")
    assert len(plugin.problems) == 1
    return plugin, plugin.problems[0]


@pytest.fixture(autouse=True)
def _neighbour(foreign: Foreign) -> None:
    foreign.package("neighbour", GOOD.replace("predis_foreign_value", "predis_neighbour_value"))


def test_a_third_partys_plugin_is_loaded_configured_and_called(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    manager = loaded(tmp_path, "[plugins.weather]\nvalue = 7\n")
    weather = manager.plugins["weather"]
    assert (weather.state, weather.error, weather.problems) == ("active", None, [])
    assert [sample.value for sample in weather.collect()] == [7]
    assert [spec.name for spec in weather.specs] == ["predis_foreign_value"]
    assert weather.implements("predis_collect")
    assert not weather.implements("predis_export")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "import no_such_module_here",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_here'",
        ),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('bye')", "cannot be imported: it called sys.exit('bye')"),
        ("raise KeyboardInterrupt", "cannot be imported: KeyboardInterrupt"),
        ("def broken(:\n    pass", "cannot be imported: SyntaxError: invalid syntax"),
        ("Plug = 1", "cannot be imported: AttributeError"),
        ("Plugin = 5", "is a int, not a class"),
        ("class Plugin:\n    pass", "does not say which version of the plugin API"),
        ("class Plugin:\n    api_version = 2", "is written for plugin API 2, this agent has 1"),
        ("class Plugin:\n    api_version = (2, 4)", "is written for plugin API 2 to 4, this agent has 1"),
        ("class Plugin:\n    api_version = 1\n    Config = dict", "Plugin.Config is not a PluginConfig"),
        ("class Plugin:\n    api_version = 1\n    def __init__(self, config): pass", "implements no hook"),
        ("class Plugin:\n    api_version = 1", "cannot be constructed: TypeError: Plugin() takes no arguments"),
        (
            "class Plugin:\n    api_version = 1\n    def __init__(self, config):\n        raise OSError('no route')",
            "cannot be constructed: OSError: no route",
        ),
        (
            "class Plugin:\n    api_version = 1\n    def __init__(self, config):\n        raise SystemExit",
            "cannot be constructed: it called sys.exit()",
        ),
        (
            "class Mute(Exception):\n    def __str__(self): return 1 / 0\nclass Plugin:\n    api_version = 1\n"
            "    def __init__(self, config): raise Mute",
            "cannot be constructed: Mute, which cannot be shown",
        ),
    ],
)
def test_a_plugin_that_cannot_be_loaded_fails_alone(foreign: Foreign, tmp_path: Path, code: str, told: str) -> None:
    source = foreign.package("bad", code)
    plugin, problem = culprit(loaded(tmp_path), "bad")
    assert told in problem.what
    assert problem.mend
    assert problem.key == "plugins.bad"
    assert told in (plugin.error or "")
    if "cannot be" in told and "takes no arguments" not in told and "AttributeError" not in told:
        assert problem.file == str(source)
        assert problem.line == 1 + next(i for i, line in enumerate(code.splitlines()) if _culpable(line))


def _culpable(line: str) -> bool:
    return "__str__" not in line and any(
        word in line for word in ("no_such", "1 / 0", "sys.exit", "raise", "def broken")
    )


WRONG_HOOKS = """
    from agent.api import hookimpl

    class Plugin:
        api_version = 1

        def __init__(self, config):
            pass

        @hookimpl
        def {definition}
            return []
"""


@pytest.mark.parametrize(
    ("definition", "what", "mend"),
    [
        (
            "predis_start(self, hots):",
            "hook predis_start has unknown argument 'hots' in predis_start(hots)",
            "the hook is predis_start(host)",
        ),
        (
            "predis_export(self, snap, snapshot):",
            "hook predis_export has unknown argument 'snap' in predis_export(snap, snapshot)",
            "the hook is predis_export(snapshot)",
        ),
        ("predis_colect(self):", "there is no hook predis_colect", "did you mean predis_collect?"),
        ("something_else(self):", "there is no hook something_else", "hooks: predis_metric_specs, predis_start"),
    ],
)
def test_a_wrong_hook_is_told_with_hook_and_argument(
    foreign: Foreign, tmp_path: Path, definition: str, what: str, mend: str
) -> None:
    source = foreign.package("bad", WRONG_HOOKS.format(definition=definition))
    _, problem = culprit(loaded(tmp_path), "bad")
    assert what in problem.what
    assert mend in problem.mend
    assert (problem.file, problem.line) == (str(source), 10)


def test_a_plugin_that_hangs_when_imported_does_not_hang_the_agent(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(threading, "the_tests_event", release, raising=False)
    foreign.package("bad", "import threading\nthreading.the_tests_event.wait(60)")
    try:
        manager = loaded(tmp_path, "[plugins]\ngpu_metrics.enabled = false", deadline=2.0)
        _, problem = culprit(manager, "bad")
        assert "not done after 2 s" in problem.what
        assert "plugins.bad.enabled = false" in problem.mend
    finally:
        release.set()


def test_wrong_settings_are_told_with_their_lines(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    manager = loaded(tmp_path, "[plugins.weather]\nvaleu = 1\nvalue = 'x'\ndeadline = '2h'\ninterval = '0s'\n")
    weather = manager.plugins["weather"]
    assert weather.state == "failed"
    assert [(problem.line, problem.key) for problem in weather.problems] == [
        (2, "plugins.weather.valeu"),
        (3, "plugins.weather.value"),
        (4, "plugins.weather.deadline"),
        (5, "plugins.weather.interval"),
    ]
    assert weather.problems[0].mend == 'did you mean "value"?'
    assert str(weather.problems[2]).endswith('plugins.weather.deadline: 2h is too much; write "1h" or less')
    assert manager.plugins["neighbour"].state == "active"


def test_a_table_of_no_installed_plugin_is_told(tmp_path: Path) -> None:
    manager = loaded(tmp_path, "[agent]\n[plugins.promethus]\nport = 1\n[plugins.gone]\nenabled = false\n")
    _, problem = culprit(manager, "promethus")
    assert (problem.line, problem.mend) == (2, 'did you mean "prometheus"?')
    assert manager.plugins["gone"].state == "disabled"


@pytest.mark.parametrize("overrides", [("plugins.bad.enabled=false",), ()])
def test_a_disabled_plugin_is_not_even_imported(foreign: Foreign, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    witness = tmp_path / "imported"
    foreign.package("bad", f"open({str(witness)!r}, 'w')")
    if overrides:
        manager = loaded(tmp_path, "", overrides)
    else:
        manager = PluginManager(_off(configured(tmp_path)))
        manager.load()
        assert {plugin.state for plugin in manager.plugins.values()} == {"disabled"}
    assert manager.plugins["bad"].state == "disabled"
    assert manager.problems == []
    assert not witness.exists()


def _off(config: LoadedConfig) -> LoadedConfig:
    return LoadedConfig(config.config, config.path, plugins_off=True, sources=config.sources)


def test_a_plugin_may_be_off_unless_asked_for(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("shy", GOOD.replace("value: int = 1", "enabled: bool = False\n        value: int = 1"))
    assert loaded(tmp_path).plugins["shy"].state == "disabled"
    assert loaded(tmp_path, "[plugins.shy]\nenabled = true").plugins["shy"].state == "active"


def test_a_name_that_two_packages_claim_stays_with_ours(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("prometheus", distribution="aaa-impostor")
    manager = loaded(tmp_path)
    assert manager.plugins["prometheus"].distribution == "predis-agent"
    assert manager.plugins["prometheus"].state == "active"
    assert ["aaa-impostor" in str(warning) for warning in manager.warnings] == [True]


def test_a_package_with_broken_metadata_hides_no_plugin(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    broken = foreign.folder / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Name: broken-thing\n")
    (broken / "entry_points.txt").write_text("[console_scripts]\nthis is no entry point\n")
    manager = loaded(tmp_path)
    assert {"weather", "neighbour", "prometheus"} <= {plugin.name for plugin in manager.active}
    (warning,) = map(str, manager.warnings)
    assert "the entry points of broken-thing cannot be read" in warning


def test_a_plugin_of_a_package_without_a_name_is_loaded(foreign: Foreign, tmp_path: Path) -> None:
    source = foreign.package("weather")
    (foreign.folder / f"{source.stem}-1.0.dist-info" / "METADATA").unlink()
    assert loaded(tmp_path).plugins["weather"].state == "active"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ('MetricSpec("Bad Name", Kind.gauge, "x")', "lower-case"),
        ('MetricSpec("predis_keys", Kind.gauge, "Another plugin has it.")', "already declared by cache_metrics"),
        ('"predis_x"', "not a MetricSpec"),
        ('MetricSpec(None, Kind.gauge, "No name.")', "name must be text, not None"),
        ('MetricSpec([], Kind.gauge, "No name.")', "name must be text, not []"),
        ('MetricSpec("predis_late_value", Kind.gauge, None)', "help must be text, not None"),
        ('MetricSpec("predis_late_value", Kind.gauge, "A value.", None)', "unit must be text, not None"),
        (
            'type("Odd", (MetricSpec,), {"family": property(lambda spec: 1 / 0)})("predis_odd", Kind.gauge, "Odd.")',
            "its metrics cannot be declared: ZeroDivisionError",
        ),
    ],
)
def test_metrics_that_the_catalogue_refuses_fail_their_plugin(
    foreign: Foreign, tmp_path: Path, spec: str, told: str
) -> None:
    foreign.package(
        "late", GOOD.replace('MetricSpec("predis_foreign_value", Kind.gauge, "A number that the test chose.")', spec)
    )
    manager, catalogue = loaded(tmp_path), Catalogue()
    manager.declare(catalogue.add)
    _, problem = culprit(manager, "late")
    assert told in problem.what
    assert catalogue.owner("predis_keys") == "cache_metrics"


VALIDATED = GOOD.replace(
    "value: int = 1",
    """value: int = 1

        @__import__("pydantic").field_validator("value")
        @classmethod
        def _checked(cls, value):
            {check}
            return value""",
)


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("[][value]", "cannot be configured: IndexError: list index out of range"),
        ("raise SystemExit(3)", "cannot be configured: it called sys.exit(3)"),
    ],
)
def test_a_validator_that_breaks_fails_its_plugin(foreign: Foreign, tmp_path: Path, check: str, told: str) -> None:
    source = foreign.package("bad", VALIDATED.format(check=check))
    _, problem = culprit(loaded(tmp_path, "[plugins.bad]\nvalue = 7\n"), "bad")
    assert told in problem.what
    assert problem.key == "plugins.bad"
    assert "plugins.bad.enabled = false" in problem.mend
    assert problem.file == str(source)


def test_a_validator_that_hangs_does_not_hang_the_agent(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(threading, "the_tests_event", release, raising=False)
    foreign.package("bad", VALIDATED.format(check="__import__('threading').the_tests_event.wait(60)"))
    try:
        text = "[plugins]\ngpu_metrics.enabled = false\nbad.value = 7\n"
        _, problem = culprit(loaded(tmp_path, text, deadline=2.0), "bad")
        assert "cannot be configured: not done after 2 s" in problem.what
    finally:
        release.set()


ODD = """
class Meta(type):
    @property
    def api_version(cls):
        return {}["no such thing"]

class Plugin(metaclass=Meta):
    pass
"""


def test_a_class_that_breaks_when_looked_at_fails_its_plugin(foreign: Foreign, tmp_path: Path) -> None:
    source = foreign.package("bad", ODD)
    _, problem = culprit(loaded(tmp_path), "bad")
    assert "cannot be loaded: KeyError: 'no such thing'" in problem.what
    assert "plugins.bad.enabled = false" in problem.mend
    assert (problem.file, problem.line) == (str(source), 5)


def test_specs_that_raise_fail_their_plugin(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package(
        "bad", GOOD.replace("return [MetricSpec", "raise ValueError('no specs')\n            return [MetricSpec")
    )
    _, problem = culprit(loaded(tmp_path), "bad")
    assert "cannot declare its metrics: ValueError: no specs" in problem.what


def test_specs_without_end_fail_their_plugin(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("bad", GOOD.replace("return [MetricSpec", "return iter(int, 1)\n            [MetricSpec"))
    _, problem = culprit(loaded(tmp_path), "bad")
    assert "cannot declare its metrics: ValueError: more than 10000 metrics" in problem.what


@pytest.mark.parametrize("result", ["5", '"text"', 'Sample("predis_foreign_value", 1)'])
def test_what_is_no_list_of_samples_is_refused(foreign: Foreign, tmp_path: Path, result: str) -> None:
    foreign.package("odd", GOOD.replace("yield Sample(", "return " + result + "\n            Sample("))
    with pytest.raises(TypeError, match="where samples were expected"):
        list(loaded(tmp_path).plugins["odd"].collect())


def test_a_new_configuration_touches_only_what_changes(foreign: Foreign, tmp_path: Path) -> None:
    # given three running plugins
    foreign.package("weather")
    foreign.package("tides", GOOD.replace("foreign_value", "tides_value"))
    manager = loaded(tmp_path, "[plugins.weather]\nvalue = 1\n")
    before = dict(manager.plugins)
    # when one gets other settings, one is switched off, and one is written out with its default
    changes = manager.prepare(
        configured(
            tmp_path, "[plugins.weather]\nvalue = 2\n[plugins.tides]\nenabled = false\n[plugins.neighbour]\nvalue = 1\n"
        )
    )
    # then nothing is in force yet
    assert manager.plugins == before
    assert [plugin.name for plugin in changes.started] == ["weather"]
    assert {plugin.name for plugin in changes.stopped} == {"weather", "tides"}
    assert changes.problems == ()
    # and after the commit the unchanged plugins are the same objects
    manager.commit(changes)
    assert manager.plugins["neighbour"] is before["neighbour"]
    assert [sample.value for sample in manager.plugins["weather"].collect()] == [2]
    assert manager.plugins["tides"].state == "disabled"


def test_a_new_configuration_with_a_mistake_leaves_what_runs(foreign: Foreign, tmp_path: Path) -> None:
    foreign.package("weather")
    manager = loaded(tmp_path)
    changes = manager.prepare(configured(tmp_path, "[plugins.weather]\nvalue = 'x'\n"))
    assert [problem.key for problem in changes.problems] == ["plugins.weather.value"]
    assert [sample.value for sample in manager.plugins["weather"].collect()] == [1]
