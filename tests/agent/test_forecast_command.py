"""`predis-agent forecast` as people use it: from a file, and from a running agent."""

import importlib.util
import json
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli.forecast import app
from agent.errors import PredisError
from tests.servers import Server, start_agent
from tests.waiting import wait_until

START = 1_700_000_000 // 3600 * 3600


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=True)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "memory.csv"
    rows = [f"{START + 3600 * row},{5e9 + 1e7 * row + 1e8 * math.sin(row * math.pi / 12):.0f}" for row in range(400)]
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    return path


def test_a_file_is_forecast_for_people(recording: Path) -> None:
    result = run("memory", "--from", recording, "--horizon", "2d", "--limit", "9.3e9")
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "series memory history 400 points since 2023-11-14 22:00 UTC" in words
    assert "limit 9,300,000,000: in " in words
    assert "time (UTC)" in words
    assert "2023-12-03 13:00" in words  # the end: two days after the last row


def test_rows_that_are_seconds_apart_show_their_seconds(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("timestamp,value\n" + "".join(f"{START + row},{row % 7}\n" for row in range(60)))
    result = run("load", "--from", path, "--horizon", "5s")
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("2023-")] == [
        f"22:01:{second:02}" for second in range(5)
    ]


def test_a_trend_is_told_for_a_day_only_where_a_day_is_forecast(recording: Path) -> None:
    """Half a day ahead is no measure of a day."""
    assert " a day (95 %" in run("memory", "--from", recording, "--horizon", "1d").stdout
    half = run("memory", "--from", recording, "--horizon", "12h").stdout
    assert " in 12h (95 %" in half
    assert " a day" not in half


def test_the_climb_of_a_wave_is_no_trend(recording: Path) -> None:
    """The wave goes through 2e8 in half a day; the growth is 1.2e8 in it."""
    found = json.loads(run("memory", "--from", recording, "--horizon", "6h", "--json").stdout)
    assert found[0]["trend"]["middle"] * 3600 == pytest.approx(1e7, rel=0.1)


def test_why_there_is_no_trend_is_said(tmp_path: Path) -> None:
    path = tmp_path / "morning.csv"
    rows = [f"{START + 600 * row},{100 + 50 * math.sin(row * math.pi / 72):.2f}" for row in range(100)]
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    result = run("load", "--from", path, "--horizon", "6h")
    assert result.exit_code == 0, result.output
    assert "trend none: the rows cover less than a day" in " ".join(result.stdout.split())
    found = json.loads(run("load", "--from", path, "--horizon", "6h", "--json").stdout)
    assert found[0]["trend"] is None
    assert "less than a day" in found[0]["trend_problem"]


def test_json_has_all_rows(recording: Path) -> None:
    found = json.loads(run("memory", "--from", recording, "--horizon", "1d", "--limit", "8GiB", "--json").stdout)
    assert len(found) == 1
    assert found[0]["times"] == [START + 3600 * (399 + ahead) for ahead in range(1, 25)]
    assert found[0]["low95"][-1] <= found[0]["low80"][-1] <= found[0]["middle"][-1] <= found[0]["high80"][-1]
    assert found[0]["trend"]["middle"] * 3600 == pytest.approx(1e7, rel=0.2)
    assert found[0]["reach"] == [START + 3600 * 399] * 3 or found[0]["reach"][0] is None


def test_a_picture_is_one_page_that_loads_nothing(recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly is not installed; `pip install plotly` for the extra plots")
    page = tmp_path / "memory.html"
    result = run("memory", "--from", recording, "--horizon", "1d", "--limit", "9e9", "--plot", page)
    assert result.exit_code == 0, result.output
    assert f"written: {page}" in result.stdout
    text = page.read_text()
    assert "Plotly.newPlot" in text
    assert "<script src" not in text
    assert "<link" not in text


def test_too_little_is_said_and_no_success(tmp_path: Path) -> None:
    (tmp_path / "few.json").write_text("[[0, 1], [60, 2]]")
    page = tmp_path / "page.html"
    plot = ["--plot", page] if importlib.util.find_spec("plotly") else []
    result = run("memory", "--from", tmp_path / "few.json", *plot)
    assert result.exit_code == 1
    assert not page.exists()
    assert (f"not written: {page}: there is no forecast to draw" in result.stderr) is bool(plot)
    assert "come back in 10 min for a horizon of 22m, in 3.5 d for 7 d" in " ".join(result.stdout.split())
    assert "no forecast" in result.stdout
    assert "2 points are too few: it takes 12 at least" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--horizon", "soon"], '--horizon soon: "soon" is not a duration'),
        (["--horizon", "0s"], "--horizon 0s: is nothing"),
        (["--limit", "full"], "--limit full: is no number and no size"),
        (["--plot", "a.png"], "--plot a.png: is written as a page; name it a.html"),
        (["--plugin", "none"], "--plugin none: is not installed"),
        (["--plugin", "host_metrics"], "--plugin host_metrics: cannot forecast, it has no hook predis_forecast"),
    ],
)
def test_wrong_options_end_in_a_sentence(recording: Path, arguments: list[str], complaint: str) -> None:
    result = run("memory", "--from", recording, *arguments)
    assert isinstance(result.exception, PredisError), result.output
    assert str(result.exception).startswith(complaint)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Server]:
    """One that collects often, and wants a forecast that a few seconds are enough for."""
    wanted = ['plugins.forecasting.metrics=["predis_host_load_average"]', "plugins.forecasting.refresh=10s"]
    agent = start_agent(tmp_path, "agent.interval=250ms", "plugins.forecasting.horizon=5m", *wanted)
    yield agent
    agent.stop()


def test_a_running_agent_forecasts_its_own_history_and_says_what_cannot_be(agent: Server) -> None:
    config = ["--set", f"agent.data_dir={agent.data_dir}", "--set", f"http.port={agent.extra['http']}"]
    metric = "predis_host_load_average"

    def forecast() -> bool:
        found = run(metric, "--label", "window=1m", "--horizon", "4s", "--json", *config)
        documents = json.loads(found.stdout) if found.stdout else []
        return bool(documents) and documents[0]["problem"] == "" and len(documents[0]["middle"]) > 0

    wait_until(forecast, timeout=60, what="enough history for a forecast")
    with pytest.raises(PredisError, match="has no label colour"):
        raise run(metric, "--label", "colour=red", *config).exception or AssertionError
    with pytest.raises(PredisError, match="there is no metric predis_nothing"):
        raise run("predis_nothing", *config).exception or AssertionError

    def served() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['prometheus']}/metrics") as answer:
            return 'predis_forecast_available{metric="predis_host_load_average",series="1m"}' in answer.read().decode()

    wait_until(served, timeout=60, what="the metrics of the forecasts that the plugin wants")
