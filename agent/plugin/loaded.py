"""One plugin as the host holds it: its state, its configuration, and typed calls of its hooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, Literal, TypeVar

import pluggy

from agent.config.models import PluginConfig
from agent.dashboards.model import Dashboards
from agent.errors import PluginError, Problem
from agent.export.model import Destination
from agent.forecast.model import Forecast, ForecastRequest
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.bill import Charge
from agent.metrics.history import History
from agent.metrics.model import MetricSpec, Sample, Snapshot
from agent.plugin.host import Host
from agent.rules.extension import ActionType, ConditionType

Given = TypeVar("Given")
State = Literal["active", "failed", "disabled", "missing"]

_DASHBOARDS = ("vendor", "where", "assets", "find", "put", "close")
_DESTINATION = ("temporality", "lanes", "event_lanes", "limits", "encode", "send", "close")
_CONDITION = ("name", "help", "Params", "metrics", "evaluate")
_ACTION = ("name", "help", "Params", "changes_state", "deadline", "target", "plan", "run", "done_before", "undo")


@dataclass
class LoadedPlugin:
    """A plugin that was found, whether or not it works.

    ``state`` "active": its hooks may be called. "failed": it could not be imported, configured or registered, and
    ``problems`` say why. "disabled": the configuration says so. "missing": it was there at an earlier start, and its
    package is gone; ``wanted`` is False then if the configuration does not name it. How its runs go is the runner's to
    say.
    """

    name: str
    entry_point: str
    distribution: str
    package: Distribution | None = field(default=None, repr=False)
    state: State = "disabled"
    wanted: bool = True
    problems: list[Problem] = field(default_factory=list)
    config: PluginConfig = field(default_factory=PluginConfig)
    instance: object | None = None
    specs: tuple[MetricSpec, ...] = ()
    # A pluggy manager for each plugin: the host calls one plugin at a time, on that plugin's thread, so that a call
    # never runs another plugin's code and an exception always has one owner.
    caller: pluggy.PluginManager | None = field(default=None, repr=False)

    @property
    def error(self) -> str | None:
        """What is wrong, in one line, or None."""
        if not self.problems:
            return None
        return "; ".join(
            f"{problem.what} ({problem.where})" if problem.file else problem.what for problem in self.problems
        )

    def implements(self, hook: str) -> bool:
        """Whether the plugin has this hook, such as "predis_collect"."""
        return self.caller is not None and bool(getattr(self.caller.hook, hook).get_hookimpls())

    def note(self) -> str | None:
        """What it says of itself in an attribute ``note``. That may be a property: the plugin's code, like a hook."""
        try:
            note = getattr(self.instance, "note", None)
        except Exception:  # noqa: BLE001  # it is for show only
            return None
        return str.__str__(note) or None if isinstance(note, str) else None

    def start(self, host: Host) -> None:
        """Call predis_start."""
        self._call("predis_start", host=host)

    def stop(self) -> None:
        """Call predis_stop."""
        self._call("predis_stop")

    def collect(self) -> Iterator[Sample]:
        """Call predis_collect; a generator's body runs while the samples are read."""
        for samples in self._call("predis_collect"):
            if isinstance(samples, (str, bytes)) or not isinstance(samples, Iterable):
                kind = type(samples).__name__
                raise TypeError(f"predis_collect gave a {kind} where samples were expected: return a list or yield")
            yield from samples

    def export(self, snapshot: Snapshot) -> None:
        """Call predis_export."""
        self._call("predis_export", snapshot=snapshot)

    def abandon(self) -> None:
        """It is stopped, or hangs: whatever can be ended of it is to end."""

    def details(self) -> dict[str, Any]:
        """What `status` shows of how it is run, besides its runs."""
        return {}

    def destination(self) -> Destination:
        """Call predis_destination. Raises PluginError when what it gives is none."""
        destination: Destination = self._only("predis_destination", "Destination", _DESTINATION)
        return destination

    def dashboards(self, url: str) -> Dashboards:
        """Call predis_dashboards. Raises PluginError when what it gives are none."""
        dashboards: Dashboards = self._only("predis_dashboards", "Dashboards", _DASHBOARDS, url=url)
        return dashboards

    def bill(self, snapshot: Snapshot, interval: float) -> list[Charge]:
        """Call predis_bill."""
        return [charge for bill in self._call("predis_bill", snapshot=snapshot, interval=interval) for charge in bill]

    def detect(self, snapshot: Snapshot) -> list[Anomaly]:
        """Call predis_detect. Raises TypeError for what is no anomaly."""
        return self._all("predis_detect", Anomaly, snapshot=snapshot)

    def causes(self, incident: Incident, history: History) -> list[Cause]:
        """Call predis_causes. Raises TypeError for what is no cause."""
        return self._all("predis_causes", Cause, incident=incident, history=history)

    def forecast(self, request: ForecastRequest) -> Forecast:
        """Call predis_forecast. Raises PluginError when what it gives is none."""
        forecast = self._only("predis_forecast", "Forecast", (), request=request)
        if not isinstance(forecast, Forecast):
            what = f"predis_forecast gave a {type(forecast).__name__}"
            raise PluginError(self.name, what, "return an agent.api.Forecast")
        return forecast

    def conditions(self) -> list[ConditionType]:
        """Call predis_conditions. Raises PluginError when one of them is none."""
        return self._kinds("predis_conditions", "ConditionType", _CONDITION)

    def actions(self) -> list[ActionType]:
        """Call predis_actions. Raises PluginError when one of them is none."""
        return self._kinds("predis_actions", "ActionType", _ACTION)

    def evaluate(self, kind: str, source: Path, target: Path, options: Mapping[str, str]) -> None:
        """Call predis_evaluate; what it raises for a mistake of the user's is a PredisError."""
        self._call("predis_evaluate", kind=kind, source=source, target=target, options=options)

    def _all(self, hook: str, kind: type[Given], **arguments: object) -> list[Given]:
        """What a hook gives, which is all of this kind."""
        given = [one for some in self._call(hook, **arguments) for one in some]
        for one in given:
            if not isinstance(one, kind):
                raise TypeError(f"{hook} gave a {type(one).__name__} where agent.api.{kind.__name__} was expected")
        return given

    def _kinds(self, hook: str, kind: str, attributes: Sequence[str]) -> list[Any]:
        """What a hook gives, each with all these attributes."""
        given = [one for some in self._call(hook) for one in some]
        for one in given:
            missing = [name for name in attributes if not hasattr(one, name)]
            if missing:
                what = f"{hook} gave a {type(one).__name__} without {', '.join(missing)}"
                raise PluginError(self.name, what, f"return objects with all that agent.api.{kind} has")
        return given

    def _only(self, hook: str, kind: str, attributes: Sequence[str], **arguments: object) -> Any:
        """The one thing that a hook gives, with all these attributes."""
        given = [one for one in self._call(hook, **arguments) if one is not None]
        if len(given) != 1:
            raise PluginError(self.name, f"{hook} gave nothing", f"return a {kind}")
        missing = [name for name in attributes if not hasattr(given[0], name)]
        if missing:
            what = f"{hook} gave a {type(given[0]).__name__} without {', '.join(missing)}"
            raise PluginError(self.name, what, f"return an object with all that agent.api.{kind} has")
        return given[0]

    def _call(self, hook: str, **arguments: object) -> list[Any]:
        if self.caller is None:
            return []
        results: list[Any] = getattr(self.caller.hook, hook)(**arguments)
        return results
