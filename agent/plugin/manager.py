"""Finds, imports, configures and registers plugins. Each can fail alone; the reason is kept with its mend.

Registration is all or nothing: a plugin whose configuration or hooks are wrong never has any of its hooks called.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pluggy
from pydantic import ConfigDict

from agent.config.explain import nearest
from agent.config.load import LoadedConfig
from agent.config.locate import format_key, parse_path
from agent.config.models import PluginConfig
from agent.errors import PredisError, Problem
from agent.metrics.model import MetricSpec
from agent.plugin import hookspecs
from agent.plugin.declared import Versions, as_versions, declared_versions, declares_process
from agent.plugin.guard import Guarded, Overdue, Raised, describe, origin
from agent.plugin.importing import ImportMark
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.lock import PluginLock, installed
from agent.plugin.markers import API_VERSION, ENTRY_POINT_GROUP, PROJECT

log = logging.getLogger(__name__)

_LOAD_DEADLINE = 20.0  # seconds for each of import, configuration, constructor and specs
_MOST_SPECS = 10_000
_MEND_SPECS = "mend what predis_metric_specs returns"
OWN_DISTRIBUTION = "predis-agent"
_ARGUMENTS = re.compile(r"for hook '(\w+)'\nhookimpl definition: (.*)\nArgument\(s\) \{(.*)\}", re.DOTALL)


class _HostKeys(PluginConfig):
    """What every plugin's table has, read from one that has more."""

    model_config = ConfigDict(extra="ignore")


class _OwnProcess(_HostKeys):
    """The same for one that runs in a process of its own unless its table says otherwise."""

    isolation: Literal["thread", "process"] = "process"


class _Unusable(Exception):
    """A plugin cannot be used: what is wrong, what would be right, and where."""

    def __init__(self, what: str, mend: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(what)
        self.what, self.mend, self.file, self.line = what, mend, file, line


@dataclass(frozen=True)
class PluginChanges:
    """What a new configuration changes, prepared but not yet in force."""

    config: LoadedConfig
    plugins: Mapping[str, LoadedPlugin]
    started: tuple[LoadedPlugin, ...]
    stopped: tuple[LoadedPlugin, ...]
    problems: tuple[Problem, ...]


class PluginManager:
    """The plugins of one agent. ``entry_points`` replaces those of the installed packages (tests).

    Without ``isolate``, none gets a process of its own: this one is it already. ``mark`` remembers which third party's
    plugin is being loaded, for the case that this ends the process. ``only``: the names of those that are wanted.
    """

    def __init__(
        self,
        config: LoadedConfig,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
        load_deadline: float = _LOAD_DEADLINE,
        *,
        isolate: bool = True,
        mark: ImportMark | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        self.config = config
        self.plugins: dict[str, LoadedPlugin] = {}
        self.warnings: list[Problem] = []
        self._given = None if entry_points is None else list(entry_points)
        self._deadline, self._isolate, self._mark = load_deadline, isolate, mark
        self._only = only
        self._starts = False

    def load(self, *, starts: bool = False) -> None:
        """Load every installed plugin that is enabled. Never raises for a plugin's sake.

        starts: they are started next, and so those with a process of their own keep the one that they were tried in.
        """
        self._starts = starts
        self.plugins = self._load(self.config, {})
        self._starts = False

    @property
    def active(self) -> list[LoadedPlugin]:
        """The plugins whose hooks may be called, by name."""
        return [plugin for plugin in self.plugins.values() if plugin.instance is not None]

    @property
    def problems(self) -> list[Problem]:
        """Why plugins could not be loaded."""
        return _problems(self.plugins.values())

    def declare(self, add: Callable[[str, tuple[MetricSpec, ...]], None]) -> None:
        """Give each active plugin's specs to ``add`` (a catalogue's); a plugin whose specs are refused fails."""
        for plugin in self.active:
            try:
                add(plugin.name, plugin.specs)
            except PredisError as error:
                what = "; ".join(str(error).splitlines())
                self.fail(plugin.name, what, _MEND_SPECS)
            except Exception as error:  # noqa: BLE001  # a spec may be of a class of the plugin's own
                self.fail(plugin.name, f"its metrics cannot be declared: {describe(error)}", _MEND_SPECS)

    def fail(self, name: str, what: str, mend: str = "") -> None:
        """Take a plugin out of service for a reason that was found after loading."""
        plugin = self.plugins[name]
        plugin.problems.append(self._problem(self.config, name, what, mend))
        plugin.state, plugin.instance, plugin.caller = "failed", None, None

    def prepare(self, config: LoadedConfig, *, anew: bool = False) -> PluginChanges:
        """Load what a new configuration changes, or all ``anew``, next to what runs.

        Nothing is in force until ``commit``.
        """
        fresh = self._load(config, {} if anew else self.plugins)
        running = {plugin.name: plugin for plugin in self.active}
        kept = {name for name, plugin in fresh.items() if plugin is running.get(name)}
        return PluginChanges(
            config=config,
            plugins=fresh,
            started=tuple(p for p in fresh.values() if p.instance is not None and p.name not in kept),
            stopped=tuple(plugin for name, plugin in running.items() if name not in kept),
            problems=tuple(_problems(fresh.values())),
        )

    def commit(self, changes: PluginChanges) -> None:
        """Put prepared changes in force. Starting and stopping the plugins is the caller's part."""
        self.config = changes.config
        self.plugins = dict(changes.plugins)

    def remember(self) -> None:
        """Note in the lock file which packages the plugins in force come from; a failure is logged, no more."""
        packages: dict[str, importlib.metadata.Distribution] = {}
        names: dict[str, list[str]] = {}
        for plugin in self.plugins.values():
            if plugin.package is not None and plugin.distribution not in ("", OWN_DISTRIBUTION):
                packages[plugin.distribution] = plugin.package
                names.setdefault(plugin.distribution, []).append(plugin.name)
        now = [entry for name in packages if (entry := installed(packages[name], names[name])) is not None]
        lock = PluginLock(self.config.config.agent.data_dir)
        try:
            lock.remember(now)
        except OSError as error:
            log.warning("%s cannot be written: %s", lock.path, error.strerror or error)

    def found(self) -> list[str]:
        """The names of the installed plugins; none of them is imported."""
        return list(self._find())

    def _load(self, config: LoadedConfig, running: Mapping[str, LoadedPlugin]) -> dict[str, LoadedPlugin]:
        found = self._find()
        plugins = {
            name: self._load_one(name, entry_point, config, running.get(name))
            for name, entry_point in sorted(found.items())
            if self._only is None or name in self._only
        }
        if self._only is not None:
            return plugins
        plugins |= self._missing(config, set(found))
        for name, table in sorted(config.config.plugins.items()):
            if name in plugins:
                continue
            plugin = plugins[name] = LoadedPlugin(name, "", "")
            if table.get("enabled") is not False and not config.plugins_off:
                plugin.state = "failed"
                guess = nearest(name, list(found))
                mend = f'did you mean "{guess}"?' if guess else "installed plugins: " + (", ".join(found) or "none")
                plugin.problems = [self._problem(config, name, "no installed plugin has this name", mend)]
        return dict(sorted(plugins.items()))

    def _missing(self, config: LoadedConfig, found: set[str]) -> dict[str, LoadedPlugin]:
        """The plugins of the lock file that are gone."""
        missing: dict[str, LoadedPlugin] = {}
        locked, trouble = PluginLock(config.config.agent.data_dir).read()
        if trouble is not None:
            self.warnings.append(Problem(None, None, "", trouble, ""))
        for entry in locked:
            for name in set(entry.plugins) - found:
                plugin = missing[name] = LoadedPlugin(name, "", entry.name)
                if config.plugins_off or config.config.plugins.get(name, {}).get("enabled") is False:
                    continue
                plugin.state, plugin.wanted = "missing", name in config.config.plugins
                what = f"its package {entry.name} {entry.version} is gone; this gets it back: {entry.command}"
                mend = f"or do without it: predis-agent plugins forget {name}"
                plugin.problems = [self._problem(config, name, what, mend)]
                if not plugin.wanted:
                    self.warnings += plugin.problems
        return missing

    def _find(self) -> dict[str, importlib.metadata.EntryPoint]:
        """Entry points by name. When two packages claim a name, the agent's own wins, else the first by name."""
        self.warnings = []
        points = self._given if self._given is not None else self._installed()
        points = sorted(points, key=lambda point: (_distribution(point) != OWN_DISTRIBUTION, _distribution(point)))
        found: dict[str, importlib.metadata.EntryPoint] = {}
        for point in points:
            first = found.setdefault(point.name, point)
            if first.value != point.value:
                what = f"{_distribution(point)} also has a plugin of this name; {_distribution(first)}'s is used"
                mend = "uninstall one of the two packages"
                self.warnings.append(Problem(None, None, format_key(("plugins", point.name)), what, mend))
        return found

    def _installed(self) -> list[importlib.metadata.EntryPoint]:
        try:
            return list(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
        except Exception:  # noqa: BLE001  # one package with broken metadata, perhaps no plugin at all: find out which
            points: list[importlib.metadata.EntryPoint] = []
        for distribution in importlib.metadata.distributions():
            try:
                points += distribution.entry_points.select(group=ENTRY_POINT_GROUP)
            except Exception as error:  # noqa: BLE001
                name = distribution.metadata["Name"] or f"a package in {distribution.locate_file('')}"
                what, mend = f"the entry points of {name} cannot be read: {describe(error)}", "mend or uninstall it"
                self.warnings.append(Problem(None, None, "", what, mend))
        return points

    def _load_one(
        self,
        name: str,
        entry_point: importlib.metadata.EntryPoint,
        config: LoadedConfig,
        running: LoadedPlugin | None,
    ) -> LoadedPlugin:
        plugin = LoadedPlugin(name, entry_point.value, _distribution(entry_point), package=entry_point.dist)
        table = config.config.plugins.get(name, {})
        if config.plugins_off or table.get("enabled") is False:
            return plugin  # without importing it: it may be what one wants to be rid of
        try:
            apart = self._isolate and declares_process(plugin.entry_point)
            if self._isolate and (apart or "isolation" in table):  # before the import: that is to happen in the process
                keys, plugin.problems = config.read_plugin(name, _OwnProcess if apart else _HostKeys)
                if keys is None:
                    plugin.state = "failed"
                    return plugin
                if keys.isolation == "process":
                    return self._load_isolated(plugin, keys, config, running)
            if self._mark is not None and plugin.distribution != OWN_DISTRIBUTION:
                if name in self._mark.culprits:
                    what = "cannot be loaded: that has ended the whole process, so it is not tried again for now"
                    mend = f'set plugins.{name}.isolation = "process", or predis-agent plugins disable {name}'
                    raise _Unusable(what, mend)
                self._mark.begin(name)
            factory = self._import(plugin, entry_point)
            model = _config_model(factory)
            remedy = f"mend {model.__qualname__}'s validators, or set plugins.{name}.enabled = false"
            settings, plugin.problems = self._guarded(
                lambda: config.read_plugin(name, model), plugin, "be configured", remedy
            )
            if settings is None:
                plugin.state = "failed"
                return plugin
            plugin.config = settings
            if not settings.enabled:
                return plugin
            if self._isolate and settings.isolation == "process":  # its own default
                return self._load_isolated(plugin, settings, config, running)
            if running is not None and running.instance is not None and _same(running, factory, settings):
                return running
            self._register(plugin, factory, settings)
        except Exception as error:  # noqa: BLE001  # whatever is odd about a plugin, the others are to be loaded
            unusable = error if isinstance(error, _Unusable) else _unforeseen(plugin, error)
            plugin.state, plugin.caller, plugin.instance = "failed", None, None
            problem = self._problem(config, name, unusable.what, unusable.mend)
            if unusable.file is not None:
                problem = Problem(unusable.file, unusable.line, problem.key, problem.what, problem.mend)
            plugin.problems.append(problem)
        finally:
            if self._mark is not None:
                self._mark.end()
        return plugin

    def _load_isolated(
        self, plugin: LoadedPlugin, keys: PluginConfig, config: LoadedConfig, running: LoadedPlugin | None
    ) -> LoadedPlugin:
        versions = declared_versions(plugin.entry_point)
        if versions is not None:
            _check_range(versions)
        isolated = IsolatedPlugin.of(plugin, keys, config, self._deadline)
        if running is not None and running.instance == isolated.instance:
            return running
        problems = isolated.load(keep=self._starts)
        plugin.problems = [self._located(config, plugin.name, problem) for problem in problems]
        if plugin.problems or isolated.state != "active":
            plugin.state, plugin.config = isolated.state, isolated.config
            return plugin
        return isolated

    def _import(self, plugin: LoadedPlugin, entry_point: importlib.metadata.EntryPoint) -> Any:
        value = plugin.entry_point
        versions = self._guarded(lambda: declared_versions(value), plugin, "be found", _uninstall(plugin))
        if versions is not None:
            _check_range(versions)
        factory = self._guarded(entry_point.load, plugin, "be imported", _uninstall(plugin))
        if not isinstance(factory, type):
            what = f"its entry point {plugin.entry_point} is a {type(factory).__name__}, not a class"
            raise _Unusable(what, "name the plugin's class in the entry point: package.module:Class")
        _check_version(factory)
        return factory

    def _register(self, plugin: LoadedPlugin, factory: Any, settings: PluginConfig) -> None:
        remedy = f"mend {plugin.entry_point}, or set plugins.{plugin.name}.enabled = false"
        instance = self._guarded(lambda: factory(settings), plugin, "be constructed", remedy)
        caller = pluggy.PluginManager(PROJECT)
        caller.add_hookspecs(hookspecs)
        known = hook_names()
        try:  # pluggy goes through all its attributes, some versions of it with the properties
            Guarded(lambda: caller.register(instance, plugin.name), f"load {plugin.name}").result(self._deadline)
        except Overdue:
            raise _Unusable(f"cannot be registered: not done after {self._deadline:g} s", remedy) from None
        except Raised as raised:
            if isinstance(raised.error, pluggy.PluginValidationError):
                raise _wrong_signature(raised.error, caller) from None
            raise _Unusable(f"cannot be registered: {describe(raised.error)}", remedy) from None
        hooks = caller.get_hookcallers(instance) or []
        for hook in hooks:
            if not hook.has_spec() and not all(impl.optionalhook for impl in hook.get_hookimpls()):
                guess = nearest(hook.name, known)
                mend = f"did you mean {guess}?" if guess else "hooks: " + ", ".join(known)
                raise _Unusable(f"there is no hook {hook.name}", mend, *_source(hook.get_hookimpls()[0].function))
        if not hooks:
            raise _Unusable("implements no hook", "decorate its hooks with @hookimpl from agent.api")
        plugin.caller = caller
        plugin.specs = self._guarded(lambda: _specs(caller), plugin, "declare its metrics", remedy)
        plugin.instance, plugin.state = instance, "active"

    def _guarded(self, call: Callable[[], Any], plugin: LoadedPlugin, doing: str, remedy: str) -> Any:
        try:
            return Guarded(call, f"load {plugin.name}").result(self._deadline)
        except Overdue:
            raise _Unusable(f"cannot {doing}: not done after {self._deadline:g} s", remedy) from None
        except Raised as raised:
            raise _Unusable(f"cannot {doing}: {describe(raised.error)}", remedy, *origin(raised.error)) from None

    @staticmethod
    def _located(config: LoadedConfig, name: str, problem: Problem) -> Problem:
        """A problem that was found where nobody knows the files of the configuration."""
        if problem.file is not None:
            return problem
        try:
            path = parse_path(problem.key)
        except ValueError:
            path = ("plugins", name)
        place = config.sources.place(path)
        return problem if place is None else replace(problem, file=place.file, line=place.line)

    @staticmethod
    def _problem(config: LoadedConfig, name: str, what: str, mend: str) -> Problem:
        place = config.sources.place(("plugins", name)) if name in config.config.plugins else None
        file, line = (place.file, place.line) if place is not None else (None, None)
        return Problem(file, line, format_key(("plugins", name)), what, mend)


def hook_names() -> list[str]:
    """The hooks there are, in the order of hookspecs.py."""
    return [name for name in vars(hookspecs) if name.startswith("predis_")]


def _distribution(entry_point: importlib.metadata.EntryPoint) -> str:
    distribution = entry_point.dist
    return str(distribution.metadata["Name"] or "") if distribution is not None else ""


def _check_version(factory: Any) -> None:
    versions = as_versions(getattr(factory, "api_version", None))
    if versions is None:
        mend = f"write api_version = {API_VERSION} in the class, or a range: (1, {API_VERSION})"
        raise _Unusable(f"{factory.__name__} does not say which version of the plugin API it is written for", mend)
    _check_range(versions)


def _check_range(versions: Versions) -> None:
    low, high = versions
    if not low <= API_VERSION <= high:
        wants = str(low) if low == high else f"{low} to {high}"
        mend = "install a newer version of the plugin" if high < API_VERSION else "install a newer predis-agent"
        raise _Unusable(f"is written for plugin API {wants}, this agent has {API_VERSION}", mend)


def _problems(plugins: Iterable[LoadedPlugin]) -> list[Problem]:
    """Not of those that are missing while nobody asks for them: nothing is wrong with the configuration then."""
    return [problem for plugin in plugins if plugin.wanted for problem in plugin.problems]


def _uninstall(plugin: LoadedPlugin) -> str:
    return f"mend or uninstall {plugin.distribution or 'its package'}, or set plugins.{plugin.name}.enabled = false"


def _unforeseen(plugin: LoadedPlugin, error: Exception) -> _Unusable:
    """What attributes and metaclasses of a plugin's own can raise where the host only looks at them."""
    return _Unusable(f"cannot be loaded: {describe(error)}", _uninstall(plugin), *origin(error))


def _config_model(factory: Any) -> type[PluginConfig]:
    model = getattr(factory, "Config", PluginConfig)
    if not isinstance(model, type) or not issubclass(model, PluginConfig):
        raise _Unusable(f"{factory.__name__}.Config is not a PluginConfig", "derive it from agent.api.PluginConfig")
    return model


def _same(running: LoadedPlugin, factory: Any, settings: PluginConfig) -> bool:
    return type(running.instance) is factory and running.config == settings


def _specs(caller: pluggy.PluginManager) -> tuple[MetricSpec, ...]:
    every = (spec for specs in caller.hook.predis_metric_specs() for spec in specs)
    specs = tuple(itertools.islice(every, _MOST_SPECS + 1))  # a generator might have no end
    if len(specs) > _MOST_SPECS:
        raise ValueError(f"more than {_MOST_SPECS} metrics")
    return specs


def _wrong_signature(error: pluggy.PluginValidationError, caller: pluggy.PluginManager) -> _Unusable:
    """pluggy's report in our words: the hook, its definition in the plugin, and the argument that is wrong."""
    match = _ARGUMENTS.search(str(error))
    if match is None:
        return _Unusable("a hook is wrong: " + " ".join(str(error).split()), "see agent/plugin/hookspecs.py")
    hook, definition, arguments = match.groups()
    spec = getattr(caller.hook, hook).spec
    takes = f"{hook}({', '.join(spec.argnames)})"
    plural = "s" if "," in arguments else ""
    method = getattr(error.plugin, hook, None)
    return _Unusable(
        f"hook {hook} has unknown argument{plural} {arguments} in {definition}",
        f"the hook is {takes}: take only what you need of it",
        *_source(method),
    )


def _source(function: Any) -> tuple[str | None, int | None]:
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else (None, None)
