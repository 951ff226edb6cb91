"""The rules of the house that a machine can check: sizes, imports, plugin folders, paths named in the documents."""

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import ROOT, Server

CODE = ("agent", "core_cache", "plugins", "bench", "tests", "packaging")
MAX_LINES = 600
HEAVY = ("numpy", "pandas", "scipy", "statsmodels", "sklearn")
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/plugin.py"))


def sources(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """The files below these top-level folders that people wrote."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def imported(path: Path) -> Iterator[str]:
    """Every module that a Python file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_below(module: str, *packages: str) -> bool:
    """Whether a module is one of these packages or lies in one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def test_no_file_is_too_long_to_have_one_subject() -> None:
    files = sources(*CODE, suffixes=(".py", ".pyi", ".cpp", ".h", ".sh"))
    assert len(files) > 50
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_nothing_names_a_place_on_somebodys_machine() -> None:
    personal = re.compile(r"/(?:home|Users|work)/[a-z]\w*/|/root/\w")
    top = [path for path in ROOT.iterdir() if path.is_file() and path.name not in (".git",)]
    documents = sources("docs", *CODE, suffixes=(".py", ".cpp", ".h", ".sh", ".md", ".toml", ".json", ".service"))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*top, *documents]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if personal.search(line)
    ]
    assert found == []


def test_what_tests_and_benchmarks_install_is_written_in_one_place() -> None:
    files = [path for path in sources("tests", "bench") if "[predis_agent.plugins]" in path.read_text(encoding="utf-8")]
    assert {str(path.relative_to(ROOT)) for path in files} == {"tests/installed.py", "tests/test_house.py"}


def test_no_document_shows_a_password_or_how_to_put_one_into_an_argument() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging").glob("*.md")]
    for path in [*documents, *(ROOT / "plugins").glob("*/*.md")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"password +[\w-]{43}\b", text), f"{path}: shorten it, it is a real one"
        assert not re.search(r"redis-cli[^\n]* -a ", text), f"{path}: say REDISCLI_AUTH=…"


def test_the_core_imports_neither_agent_nor_plugins() -> None:
    for path in sources("core_cache"):
        assert [name for name in imported(path) if is_below(name, "agent", "plugins", "tests", "bench")] == [], path


def test_the_agent_imports_no_plugin() -> None:
    for path in sources("agent"):
        assert [name for name in imported(path) if is_below(name, "plugins", "tests", "bench")] == [], path


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_imports_of_this_house_only_the_plugin_api_the_core_and_itself(folder: Path) -> None:
    allowed = ("agent.api", "core_cache", f"plugins.{folder.name}")
    for path in folder.rglob("*.py"):
        ours = {name for name in imported(path) if is_below(name, "agent", "plugins", "tests", "bench")} - {"agent"}
        assert {name for name in ours if not is_below(name, *allowed)} == set(), path


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugins_folder_has_all_its_parts_and_is_registered(folder: Path) -> None:
    for part in ("__init__.py", "plugin.py", "README.md", "sample.toml"):
        assert (folder / part).is_file(), f"plugins/{folder.name}/{part} is missing"
    entry_points = importlib.metadata.entry_points(group="predis_agent.plugins")
    assert folder.name in entry_points.names, f"{folder.name} has no entry point in setup.cfg (then: make setup)"
    assert entry_points[folder.name].load().__module__ == f"plugins.{folder.name}.plugin"


def test_every_plugin_folder_is_a_plugin() -> None:
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    assert folders == {folder.name for folder in PLUGINS}


def test_every_library_that_is_imported_is_declared() -> None:
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    extras = [lines for name, lines in declared["options.extras_require"].items() if name != "dev"]
    lines = "\n".join([declared["options"]["install_requires"], *extras]).splitlines()
    names = {re.split(r"[<>=;\[ ]", line)[0].lower() for line in lines if line}
    distributions = importlib.metadata.packages_distributions()
    distributions["pydantic_core"] = ["pydantic"]  # pydantic requires it in the one version that fits
    ours = {"agent", "core_cache", "plugins"}
    for path in sources(*sorted(ours)):
        for module in {name.partition(".")[0] for name in imported(path)} - ours - sys.stdlib_module_names:
            providers = {name.lower().replace("_", "-") for name in distributions.get(module, [])}
            assert providers & names, f"{path.relative_to(ROOT)} imports {module}, which setup.cfg does not declare"


def test_starting_the_agent_imports_nothing_heavy() -> None:
    program = f"import sys, agent.cli, agent.service; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_running_agent_and_its_cache_have_nothing_heavy_in_memory(running_agent: Server) -> None:
    cache_pid = int((running_agent.data_dir / "cache.pid").read_text())
    # numpy is what the anomaly detection computes with; with the plugin disabled the agent does without it
    for pid, allowed in ((running_agent.pid, {"numpy"}), (cache_pid, set())):
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert [name for name in HEAVY if name not in allowed and f"/{name}/" in mapped] == []


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_the_files_and_targets_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    folders = "agent|core_cache|plugins|tests|bench|docs|packaging"
    paths = re.findall(rf"[`(](?:\./)?((?:{folders})/[\w./-]*[\w/])[`)#]", text)
    missing = [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    links = [target for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text) if "*" not in target]
    missing += [target for target in links if not ((ROOT / document).parent / target).exists()]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`make (\w+)", text))
    missing += [f"make {target}" for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    assert missing == []
