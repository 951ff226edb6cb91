"""`predis-agent eval anomaly …`: one plugin, alone, with its own code, on recorded data."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli.evaluate import app
from agent.errors import PredisError
from tests.agent.foreign import Foreign, foreign

__all__ = ["foreign"]

ANALYST = """
    import json

    from agent.api import PluginConfig, hookimpl

    class Config(PluginConfig):
        isolation: str = "process"
        enabled: bool = False
        window: int = 3

    class Plugin:
        api_version = 1
        Config = Config

        def __init__(self, config):
            self.config = config

        @hookimpl
        def predis_evaluate(self, kind, source, target, options):
            file = target / "scores" if target.is_dir() else target
            file.write_text(json.dumps([kind, str(source), options, self.config.window]))
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "cases.json").write_text("{}")
    return folder


def test_a_folder_of_series_goes_to_the_plugin_which_writes_into_the_folder_made_for_it(
    foreign: Foreign, data: Path, tmp_path: Path
) -> None:
    foreign.package("weather", ANALYST)
    result = run("anomaly", data, tmp_path / "new" / "out", "--plugin", "weather")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "new" / "out" / "scores").read_text()) == ["anomaly", str(data), {}, 3]


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("multivariate", [], {}),
        ("cause", ["--data", "."], {"data": "."}),
        ("forecast", ["--period", "24"], {"period": "24"}),
    ],
)
def test_options_reach_the_plugin(
    foreign: Foreign, data: Path, tmp_path: Path, kind: str, options: list[str], told: dict[str, str]
) -> None:
    foreign.package("weather", ANALYST)
    out = tmp_path / "out"
    arguments = [kind, data / "cases.json", out, *options, "--plugin", "weather", "--set", "plugins.weather.window=7"]
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads(out.read_text()) == [kind, str(data / "cases.json"), told, 7]


def test_where_nothing_can_be_written_is_named(foreign: Foreign, data: Path) -> None:
    foreign.package("weather", ANALYST)
    result = run("multivariate", data / "cases.json", "/proc/out.csv", "--plugin", "weather")
    assert isinstance(result.exception, PredisError)
    assert str(result.exception) == "/proc/out.csv cannot be read or written: no such file or directory"


def test_no_other_plugin_is_loaded(foreign: Foreign, data: Path, tmp_path: Path) -> None:
    foreign.package("weather", ANALYST)
    loaded = tmp_path / "loaded"
    foreign.package("other", f"open({str(loaded)!r}, 'w').close()\n")
    assert run("anomaly", data, tmp_path / "out", "--plugin", "weather").exit_code == 0
    assert not loaded.exists()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (ANALYST.replace("file = target", "raise OSError('the disk is full')\n            file = target"),
         "plugin weather: evaluation of anomaly failed: OSError: the disk is full ("),
        (ANALYST.replace("predis_evaluate(self, kind, source, target, options)", "predis_stop(self)"),
         "plugin weather: has nothing to evaluate: it has no hook predis_evaluate"),
        ("import no_such_module_here", "plugins.weather: cannot be imported: ModuleNotFoundError"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said_in_a_sentence(
    foreign: Foreign, data: Path, tmp_path: Path, code: str, complaint: str
) -> None:
    foreign.package("weather", code)
    result = run("anomaly", data, tmp_path / "out", "--plugin", "weather")
    assert isinstance(result.exception, PredisError), result.exception
    assert complaint in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["anomaly", "nowhere", "out"], "nowhere is not a folder"),
        (["multivariate", "nowhere.npz", "out"], "nowhere.npz: there is no such file"),
        (["multivariate", __file__, "/nowhere/out"], "/nowhere/out cannot be written: there is no folder /nowhere"),
        (["cause", __file__, "out", "--data", "nowhere"], "--data nowhere: is not a folder"),
        (
            ["multivariate", __file__, "out", "--plugin", "nobody"],
            "--plugin nobody: is not installed; plugins: anomaly",
        ),
    ],
)
def test_wrong_arguments_end_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, PredisError), result.exception
    assert complaint in str(result.exception)
