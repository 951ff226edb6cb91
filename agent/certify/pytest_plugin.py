"""The pytest plugin: `pytest -p agent.certify.pytest_plugin --predis-plugin NAME FILE` with the checks of checks.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.certify.candidate import Candidate, candidates
from agent.certify.record import fingerprint
from agent.certify.rig import Rig
from agent.errors import PredisError


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of a certification."""
    group = parser.getgroup("predis", "certification of plugins of Predis Agent")
    group.addoption("--predis-plugin", metavar="NAME_OR_FOLDER", help="the plugin that is certified")
    group.addoption("--predis-set", metavar="KEY=VALUE", action="append", default=[], help="a key of its table")
    group.addoption("--predis-result", metavar="FILE", help="where the outcome is written, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Finds the plugin, and begins to keep the outcome."""
    wanted = config.getoption("--predis-plugin")
    if wanted is None:
        return
    try:
        found = candidates(wanted)
    except PredisError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(_Outcome(found, config.getoption("--predis-result")), "predis-outcome")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every check, for every plugin of the package."""
    outcome = metafunc.config.pluginmanager.get_plugin("predis-outcome")
    if "candidate" in metafunc.fixturenames and outcome is not None:
        metafunc.parametrize("candidate", outcome.candidates, ids=[c.name for c in outcome.candidates])


@pytest.fixture
def rig(candidate: Candidate, request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    """What takes the plugin through its life."""
    return Rig(candidate, request.config.getoption("--predis-set"), tmp_path)


class _Outcome:
    """Which checks failed, of which plugin."""

    def __init__(self, found: list[Candidate], file: str | None) -> None:
        self.candidates = found
        self._file = file
        self._failed: dict[str, list[str]] = {candidate.name: [] for candidate in found}
        self._ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._ran += report.when == "call"
        if report.failed:
            check, _, plugin = report.location[2].removesuffix("]").partition("[")
            if plugin in self._failed:
                self._failed[plugin].append(check)

    def pytest_sessionfinish(self) -> None:
        if self._file is None or not self._ran:
            return
        outcome: list[dict[str, Any]] = [
            {
                "name": c.name,
                "version": c.version,
                "fingerprint": fingerprint(c.entry_point),
                "failed": self._failed[c.name],
            }
            for c in self.candidates
        ]
        Path(self._file).write_text(json.dumps(outcome), encoding="utf-8")
