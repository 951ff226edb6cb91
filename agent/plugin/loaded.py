"""One plugin as the host holds it: its state, its configuration, and typed calls of its hooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pluggy

from agent.config.models import PluginConfig
from agent.dashboards.model import Dashboards
from agent.errors import PluginError, Problem
from agent.export.model import Destination
from agent.metrics.bill import Charge
from agent.metrics.model import MetricSpec, Sample, Snapshot
from agent.plugin.host import Host

State = Literal["active", "failed", "disabled"]

_DASHBOARDS = ("vendor", "where", "assets", "find", "put", "close")
_DESTINATION = ("temporality", "lanes", "event_lanes", "limits", "encode", "send", "close")


@dataclass
class LoadedPlugin:
    """A plugin that was found, whether or not it works.

    ``state`` "active": its hooks may be called. "failed": it could not be imported, configured or registered, and
    ``problems`` say why. "disabled": the configuration says so. How its runs go is the runner's to say.
    """

    name: str
    entry_point: str
    distribution: str
    state: State = "disabled"
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
