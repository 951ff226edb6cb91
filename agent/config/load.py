"""Reads the configuration and reports all of its mistakes at once.

Later layers win: defaults < agent.toml < conf.d/*.toml < PREDIS__SECTION__KEY in the environment < --set.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from agent.config.explain import explain
from agent.config.locate import KeyPath, format_key, locate_keys, parse_key
from agent.config.models import Config
from agent.config.secrets import SecretError, Secrets
from agent.config.sources import Place, Sources
from agent.config.syntax import explain_syntax
from agent.errors import ConfigError, Problem

DEFAULT_PATHS = (Path("agent.toml"), Path("/etc/predis/agent.toml"))
ENV_PREFIX = "PREDIS__"
_DEEPEST = 50
_LARGEST = 4 << 20  # bytes of a file: to read TOML takes a third of a second for each megabyte

Model = TypeVar("Model", bound=BaseModel)
Look = Callable[[Sources, Mapping[str, str]], None]


@dataclass(frozen=True)
class LoadedConfig:
    """A valid configuration, and where each of its keys was set.

    ``path`` is the agent.toml that was read, None for built-in defaults. ``plugins_off`` is --no-plugins.
    """

    config: Config
    path: Path | None
    overrides: tuple[str, ...] = ()
    plugins_off: bool = False
    sources: Sources = field(default_factory=lambda: Sources(Path()), repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def locate(self, key: str | KeyPath) -> str:
        """``file:line`` (or ``--set``, or an environment variable) that set the key; "built-in default" if none did."""
        path = parse_key(key) if isinstance(key, str) else key
        place = self.sources.places.get(path)
        return str(place) if place is not None else "built-in default"

    def read_plugin(self, name: str, model: type[Model]) -> tuple[Model | None, list[Problem]]:
        """The plugin's table ``[plugins.NAME]`` in its own model, or everything that is wrong with it."""
        raw = self.sources.data.get("plugins", {}).get(name, {})
        config, problems = read_table(model, raw, ("plugins", name), self.sources, self.environ)
        return config, _in_order(problems)

    def reload(self, look: Look | None = None) -> LoadedConfig:
        """The configuration as the files say now, with the same overrides. Raises ConfigError."""
        fresh = load_config(self.path, self.overrides, self.environ, look)
        return replace(fresh, plugins_off=self.plugins_off)


def find_config(explicit: Path | None = None, candidates: Sequence[Path] = DEFAULT_PATHS) -> Path | None:
    """The agent.toml to read: the explicit one, else the first that exists, else None for built-in defaults."""
    if explicit is not None:
        return explicit
    return next((path for path in candidates if os.path.lexists(path)), None)


def load_config(
    path: Path | None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    look: Look | None = None,
) -> LoadedConfig:
    """Read agent.toml (None: none), its conf.d, the environment and ``KEY=VALUE`` overrides. Raises ConfigError.

    ``look`` is shown what was read, before anybody says what is wrong with it.
    """
    environ = os.environ if environ is None else environ
    base = Path(os.path.abspath(path.parent if path is not None else "."))
    sources = Sources(base)
    problems: list[Problem] = []
    for file in _files(path, problems):
        add_file(file, sources, problems)
    _add_environment(environ, sources, problems)
    for override in overrides:
        _add_override(override, sources, problems)
    if look is not None:
        look(sources, environ)
    # Every section is there, so that defaults are checked and resolved together with what is written.
    raw: dict[str, Any] = {key: {} for key in Config.model_fields} | sources.data | {"plugins": {}}
    config, found = read_table(Config, raw, (), sources, environ)
    problems += found
    plugins = sources.data.get("plugins", {})
    problems += _check_plugin_tables(plugins, sources)
    if problems or config is None:
        raise ConfigError(_in_order(problems))
    config = config.model_copy(update={"plugins": plugins})
    return LoadedConfig(config, path, tuple(overrides), False, sources, environ)


def _files(path: Path | None, problems: list[Problem]) -> list[Path]:
    if path is None:
        return []
    folder = path.parent / "conf.d"
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".toml") and not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        names = []
        problems.append(Problem(str(folder), None, "", f"cannot be read: {error.strerror}", "mend its mode or owner"))
    return [path, *(folder / name for name in names)]


def add_file(
    file: Path, sources: Sources, problems: list[Problem], absent: str = "create it or give another --config"
) -> None:
    """Lay a TOML file over what is there, or add what is wrong with it to the problems. absent: the mend where there is
    none."""
    try:
        if file.exists() and not file.is_file():
            problems.append(Problem(str(file), None, "", "is not a file", "name a TOML file"))
            return
        if file.exists() and (size := file.stat().st_size) > _LARGEST:
            what = f"has {size:,} bytes, and no file of a configuration has more than {_LARGEST:,}"
            problems.append(Problem(str(file), None, "", what, "name the right file, or divide it"))
            return
        content = file.read_bytes()
    except FileNotFoundError:
        problems.append(Problem(str(file), None, "", "there is no such file", absent))
        return
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        problems.append(Problem(str(file), None, "", reason, "mend the mode or owner of the file"))
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problems.append(Problem(str(file), line, "", "is not UTF-8 text", "save the file as UTF-8"))
        return
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        syntax_line, key, what, mend = explain_syntax(error, text)
        problems.append(Problem(str(file), syntax_line, key, what, mend))
        return
    lines = locate_keys(text)
    deep = min((line for path, line in lines.items() if len(path) > _DEEPEST), default=None)
    if deep is not None:
        mend = f"no configuration needs more than {_DEEPEST} levels"
        problems.append(Problem(str(file), deep, "", "is nested too deeply", mend))
        return
    sources.add_layer(data, {path: Place(str(file), line) for path, line in lines.items()})


def _add_environment(environ: Mapping[str, str], sources: Sources, problems: list[Problem]) -> None:
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX):
            continue
        path = tuple(part.lower() for part in name.removeprefix(ENV_PREFIX).split("__"))
        place = Place(f"environment variable {name}")
        if not all(path):
            mend = f"write {ENV_PREFIX}SECTION__KEY, such as {ENV_PREFIX}CACHE__PORT"
            problems.append(Problem(str(place), None, "", "names no key", mend))
            continue
        value, alternative = _from_text(environ[name])
        if len(path) == 1 and not isinstance(value, dict):
            problems.append(Problem(str(place), None, path[0], "is not a key in a section", f"write {name}__KEY"))
            continue
        sources.add_value(path, value, place, alternative)


def _add_override(override: str, sources: Sources, problems: list[Problem]) -> None:
    key, equals, text = override.partition("=")
    place = Place("--set")
    try:
        path = parse_key(key)
    except ValueError:
        path = ()
    if not equals or not path:
        problems.append(Problem("--set", None, "", f'"{key}" is not KEY=VALUE', "write for example cache.port=7000"))
        return
    value, alternative = _from_text(text)
    if len(path) == 1 and not isinstance(value, dict):
        problems.append(Problem("--set", None, path[0], "is not a key in a section", f"write {path[0]}.KEY={text}"))
        return
    sources.add_value(path, value, place, alternative)


def _from_text(text: str) -> tuple[object, str | None]:
    """(value, alternative): a TOML value where the text is one, with the text itself as the other reading."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text, None
    if set(parsed) != {"value"}:  # the text had lines of its own
        return text, None
    value = parsed["value"]
    return value, None if isinstance(value, (str, list, dict)) else text


def read_table(
    model: type[Model], raw: Any, prefix: KeyPath, sources: Sources, environ: Mapping[str, str]
) -> tuple[Model | None, list[Problem]]:
    """The raw table that stands at `prefix`, in its model, or None and everything that is wrong with it."""
    problems: list[Problem] = []
    secrets: set[KeyPath] = set()

    def secret_failed(path: KeyPath, error: SecretError) -> None:
        problems.append(problem_at(sources, path, error.what, error.mend))

    expanded = Secrets(environ, sources.base).expand_tree(raw, prefix, secret_failed, secrets)
    failed = {problem.key for problem in problems}
    below = {path[len(prefix) :] for path in secrets}
    readings = {
        path[len(prefix) :]: text for path, text in sources.alternatives.items() if path[: len(prefix)] == prefix
    }
    for path in below:  # port = "${env:PORT}" is meant as a number
        text = _value_at(expanded, path)
        reading, _ = _from_text(text)
        if reading != text:
            readings[path] = reading
    while True:
        try:
            # Strict JSON rules are TOML's: "6379" is no number, but a list may become a tuple and a string a date.
            tree = json.dumps(expanded, default=lambda value: value.isoformat())
            config = model.model_validate_json(tree, strict=True, context={"base": sources.base})
            return (None if problems else config), problems
        except ValidationError as error:
            mistakes = explain(error, model, expanded, below)
        retry = {path: readings.pop(path) for path, _, _ in mistakes if path in readings}
        if not retry:
            break
        for path, reading in retry.items():
            _set(expanded, path, reading)
    for path, what, mend in mistakes:
        problem = problem_at(sources, (*prefix, *path), what, mend)
        if problem.key not in failed:
            problems.append(problem)
    return None, problems


def problem_at(sources: Sources, path: KeyPath, what: str, mend: str) -> Problem:
    """A problem with a key, at the place where it or the innermost table around it was set."""
    place = sources.place(path)  # a missing key stands nowhere, so this is its table's place
    return Problem(place.file if place else None, place.line if place else None, format_key(path), what, mend)


def _check_plugin_tables(plugins: Any, sources: Sources) -> list[Problem]:
    wrong: list[KeyPath] = [("plugins",)]
    if isinstance(plugins, dict):
        wrong = [("plugins", name) for name, table in plugins.items() if not isinstance(table, dict)]
    mend = "write [plugins.NAME] and its keys below it"
    return [problem_at(sources, path, "is not a table", mend) for path in wrong]


def _in_order(problems: list[Problem]) -> list[Problem]:
    """By line within each file; the files stay in the order in which they are read."""
    files = list(dict.fromkeys(problem.file for problem in problems))
    return sorted(problems, key=lambda problem: (files.index(problem.file), problem.line or 0))


def _value_at(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _set(tree: Any, path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        tree = tree[part]
    tree[path[-1]] = value
