"""`plugin new` writes what `plugin certify` passes, unchanged; and each fault that a plugin may have is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.plugin import Scaffold
from agent.metrics.docs import shipped_entry_points
from tests.agent.test_cli import predis_agent
from tests.installed import install
from tests.servers import free_port

KINDS = [kind.value for kind in Scaffold]
SHIPPED = [point.name for point in shipped_entry_points()]


@pytest.fixture(scope="module")
def scaffolds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package of each kind."""
    folder = tmp_path_factory.mktemp("scaffolds")
    for kind in KINDS:
        made = predis_agent("plugin", "new", f"a_{kind}", "--kind", kind, folder=folder)
        assert (made.returncode, made.stderr) == (0, "")
        assert f"predis-agent plugin certify predis-a-{kind}" in made.stdout
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_is_certified_unchanged(scaffolds: Path, kind: str, tmp_path: Path) -> None:
    project = scaffolds / f"predis-a-{kind}"
    certified = predis_agent("plugin", "certify", str(project), folder=tmp_path)
    assert certified.returncode == 0, certified.stdout
    assert " passed" in certified.stdout
    # and its own tests pass, it is in order, and nobody's rules but its own are needed for that
    own = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], cwd=project, capture_output=True, text=True
    )
    assert own.returncode == 0, own.stdout
    for check in (["check", "--select", "E,F,W,I,B,UP,RUF"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated", "--no-cache", "--line-length", "120", "."],
            cwd=project,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
    # and nothing was kept of what is not installed
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("plugin", SHIPPED)
def test_every_shipped_plugin_is_certified(plugin: str, tmp_path: Path) -> None:
    settings = {
        "prometheus": [f"port={free_port()}"],
        "datadog": ["api_key=0123456789abcdef0123456789abcdef"],
        "newrelic": ["license_key=0123456789abcdef0123456789abcdef0123NRAL"],
        "cloudwatch": ["region=eu-west-1"],
    }.get(plugin, [])
    credentials = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    (tmp_path / "agent.toml").write_text('[agent]\ndata_dir = "data"\n')
    options = [part for setting in settings for part in ("--set", setting)]
    certified = predis_agent("plugin", "certify", plugin, *options, folder=tmp_path, **credentials)
    assert certified.returncode == 0, certified.stdout + certified.stderr
    (kept,) = json.loads((tmp_path / "data" / "certified.json").read_text()).items()
    assert (kept[0], kept[1]["failed"]) == (plugin, [])


COLLECT = "        with os.scandir(self._folder) as entries:"
START = '        host.logger.info("counting the files in %s", self._folder)'
FAULTS = {
    "hangs": (
        "plugin.py",
        COLLECT,
        f"        __import__('time').sleep(60)\n{COLLECT}",
        "predis_collect takes longer than the deadline of 0.5 s",
    ),
    "raises": ("plugin.py", COLLECT, f"        1 / 0\n{COLLECT}", "predis_collect raises ZeroDivisionError"),
    "undeclared": ("plugin.py", "return [FILES, BYTES]", "return [FILES]", "predis_a_collector_bytes (uncatalogued)"),
    "leaks files": ("plugin.py", START, "        os.dup(1)", "after predis_stop there are more and more: open"),
    "leaks sockets": (
        "plugin.py",
        START,
        '        type(self).held = [*getattr(type(self), "held", []), __import__("socket").socket()]',
        "after predis_stop there are more and more: open socket",
    ),
    "leaks threads": (
        "plugin.py",
        START,
        "        import threading\n\n"
        "        threading.Thread(target=threading.Event().wait, name='forever', daemon=True).start()",
        "thread forever",
    ),
    "works when constructed": (
        "plugin.py",
        '        self.note = ""',
        '        self.note = ""\n        self.held = os.dup(1)',
        "constructing it leaves open",
    ),
    "is slow to construct": (
        "plugin.py",
        '        self.note = ""',
        '        self.note = ""\n        __import__("time").sleep(1.1)',
        "do the work in predis_start",
    ),
    "hides its api": ("plugin.py", "api_version = 1", "api_version = int('1')", "write api_version = 1 in its class"),
    "other defaults": ("sample.toml", "max_series = 2000", "max_series = 3000", "the defaults of max_series"),
    "a key is missing": ("sample.toml", 'deadline = "5s"\n', "", "sample.toml lacks deadline"),
    "not explained": ("sample.toml", "# Whose files are counted.\n", "", "README.md does not have sample.toml"),
    "an undocumented metric": (
        "README.md",
        "`predis_a_collector_files`",
        "files",
        "README.md does not have predis_a_collector_files",
    ),
    "a broken stop": (
        "plugin.py",
        START,
        "        self.open = True\n\n    @hookimpl\n    def predis_stop(self) -> None:\n        del self.open",
        "predis_stop before predis_start raises AttributeError",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_collector_is_found(scaffolds: Path, tmp_path: Path, fault: str) -> None:
    file, good, bad, told = FAULTS[fault]
    project = Path(shutil.copytree(scaffolds / "predis-a-collector", tmp_path / "project"))
    path = project / file if file == "README.md" else project / "predis_a_collector" / file
    text = path.read_text()
    assert good in text
    path.write_text(text.replace(good, bad))
    options = ("--set", "deadline=500ms") if fault == "hangs" else ()
    certified = predis_agent("plugin", "certify", str(project), *options, folder=tmp_path)
    assert certified.returncode == 1, certified.stdout
    assert told in certified.stdout


EXPORTER_FAULTS = {
    "a secret in the log": ('host.logger.info("points go', "host.logger.info(self._config.token.get_secret_value())#"),
    "a secret in its note": ("self.note = config.endpoint", "self.note = config.token.get_secret_value()"),
    "a secret in an error": (
        "        self._endpoint = config.endpoint",
        "        self._endpoint = config.endpoint\n        if token:\n            raise OSError(token)",
    ),
    "a secret that is plain text": ('token: SecretStr = Field(default=SecretStr("")', 'token: str = Field(default=""'),
    "text for bytes": ('"points": points}).encode()', '"points": points})'),
    "no answer": ("return self._sender.post(", "self._sender.post("),
}


@pytest.mark.parametrize("fault", EXPORTER_FAULTS)
def test_each_fault_of_an_exporter_is_found(scaffolds: Path, tmp_path: Path, fault: str) -> None:
    good, bad = EXPORTER_FAULTS[fault]
    told = {"text for bytes": "encode gives str", "no answer": "send gives NoneType"}.get(fault, "secret")
    project = Path(shutil.copytree(scaffolds / "predis-a-exporter", tmp_path / "project"))
    path = project / "predis_a_exporter" / "plugin.py"
    text = path.read_text()
    assert good in text
    text = text.replace(good, bad)
    if "str = Field" in bad:
        text = text.replace("config.token.get_secret_value()", "config.token")
    path.write_text(text)
    certified = predis_agent("plugin", "certify", str(project), folder=tmp_path)
    assert certified.returncode == 1, certified.stdout
    assert told in certified.stdout
    assert "canary" not in certified.stdout


def test_the_list_shows_what_was_certified_until_the_code_changes(scaffolds: Path, tmp_path: Path) -> None:
    # given an installed plugin
    site = tmp_path / "site"
    shutil.copytree(scaffolds / "predis-a-collector" / "predis_a_collector", site / "predis_a_collector")
    readme = (scaffolds / "predis-a-collector" / "README.md").read_text()
    plugins = {"a_collector": "predis_a_collector.plugin:ACollector"}
    install(site, "predis-a-collector", plugins, version="0.1.0", readme=readme)
    (tmp_path / "agent.toml").write_text('[agent]\ndata_dir = "data"\n')

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return predis_agent(*arguments, folder=tmp_path, path=site)

    def shown() -> str:
        plugins = json.loads(command("plugins", "list", "--json").stdout)
        return next(str(plugin["certified"]) for plugin in plugins if plugin["name"] == "a_collector")

    assert shown() == "no"
    # when it is certified
    certified = command("plugin", "certify", "a_collector")
    assert certified.returncode == 0, certified.stdout
    # then the list says so, with date and version
    assert shown().startswith("yes 2")
    assert shown().endswith(" (0.1.0)")
    # and no longer when its code is another
    plugin = site / "predis_a_collector" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("return [FILES, BYTES]", "return [FILES]"))
    assert shown().startswith("no, changed since 2")
    assert command("plugin", "certify", "a_collector").returncode == 1
    assert shown().startswith("failed 2")
    listed = command("plugins", "list").stdout
    assert "shipped" in next(line for line in listed.splitlines() if line.startswith("host_metrics"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("certify", "no_such_plugin"), "no_such_plugin is no installed plugin, and no folder"),
        (("certify", "."), ". is a folder without a pyproject.toml"),
        (("new", "Bad-Name", "--kind", "collector"), "cannot be a plugin's name"),
        (("new", "fine", "--kind", "colector"), "collector"),
        (("new", "fine", "--kind", "collector", "--folder", "full"), "full is there already and not empty"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = predis_agent("plugin", *arguments, folder=tmp_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_help_says_which_kinds_there_are(tmp_path: Path) -> None:
    shown = predis_agent("plugin", "new", "--help", folder=tmp_path).stdout
    for word in KINDS:
        assert word in " ".join(shown.replace("│", " ").split())
