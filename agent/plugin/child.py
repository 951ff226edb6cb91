"""A plugin's own process: `python -m agent.plugin.child FD QUESTIONS PARENT`, started by process.py.

It takes the plugin through the same loading and the same hooks as the agent would, one request after the other, on one
socket; on the other it answers what may be asked at any time. What it may need to know, secrets included, comes over
the first; it ends with the agent, whatever the plugin is busy with.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import dataclasses
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from agent.config.load import LoadedConfig
from agent.config.models import Config, PluginConfig
from agent.config.sources import Sources
from agent.dashboards.model import Dashboards, VendorError
from agent.errors import PredisError
from agent.export.config import ExportConfig
from agent.export.model import Body, Destination, Event, Series
from agent.metrics.model import MetricSpec
from agent.plugin import wire, wire_analysis
from agent.plugin.far_history import FarHistory
from agent.plugin.guard import describe, origin
from agent.plugin.host import CacheAddress, Host
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager, hook_names
from agent.plugin.markers import ENTRY_POINT_GROUP
from agent.plugin.snapshots import SnapshotReceiver
from agent.plugin.wire_offers import dump_asset, load_asset

_PR_SET_PDEATHSIG = 1
_LONGEST_LINE = 4000
_IN_ONE = 20  # anomalies in a message
_OF_DASHBOARDS = frozenset({"dashboards", "assets", "find", "put", "shut"})
_OUT_OF_MEMORY = wire.pack({"memory": True})  # made now: there is no memory to make it later


class Line:
    """The connection to the agent: whole messages, from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, message: Any) -> None:
        """Send a message; waits while the agent does not read."""
        self.send_frame(wire.pack(message))

    def send_frame(self, frame: bytes) -> None:
        """The same for one that is packed."""
        with self._lock:
            self._connection.sendall(frame)

    def listen(self) -> None:
        """Until the agent is gone; then this process goes, and all that it started."""
        with contextlib.suppress(OSError):
            while (message := wire.receive(self._connection)) is not None:
                (self.answers if "answer" in message else self.requests).put(message)
        os.killpg(0, signal.SIGKILL)


class _ToAgent(logging.Handler):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._line.send({"log": [record.levelno, self.format(record)[:_LONGEST_LINE]]})


class Server:
    """Answers the agent's requests, each a method here."""

    def __init__(self, line: Line, setup: dict[str, Any]) -> None:
        self._line = line
        self._snapshots = SnapshotReceiver()
        entry_point = EntryPoint(setup["name"], setup["value"], ENTRY_POINT_GROUP)
        sources = Sources(Path(setup["base"]), {"plugins": {setup["name"]: setup["table"]}})
        sources.alternatives = {tuple(path): text for path, text in setup["alternatives"]}
        config = Config.model_construct(plugins=sources.data["plugins"])
        loaded = LoadedConfig(config, None, sources=sources, environ=setup["secrets"])
        self._manager = PluginManager(loaded, [entry_point], setup["load_deadline"], isolate=False)
        self._manager.load()
        self._plugin: LoadedPlugin = self._manager.plugins[setup["name"]]
        self._half: Destination | None = None
        self._shipped: Dashboards | None = None
        self._series: WeakValueDictionary[tuple[MetricSpec, tuple[str, ...]], Series] = WeakValueDictionary()

    def describe(self) -> dict[str, Any]:
        """What became of the plugin when it was loaded."""
        plugin = self._plugin
        # Of an exporter also what the host's half needs, which makes no requests.
        model = ExportConfig if isinstance(plugin.config, ExportConfig) else PluginConfig
        own = plugin.config.model_dump(mode="json", include=set(model.model_fields) - {"endpoint", "ca_file"})
        return {
            "state": plugin.state,
            "problems": [dataclasses.asdict(problem) for problem in plugin.problems],
            "hooks": [hook for hook in hook_names() if plugin.implements(hook)],
            "specs": [wire.dump_spec(spec) for spec in plugin.specs],
            "config": own,
        }

    def answer(self, request: dict[str, Any]) -> None:
        """Do what is asked, and say so; or what went wrong."""
        try:
            said = getattr(self, f"_{request['call']}")(request)
            answer: dict[str, Any] = {**(said or {}), "done": True, "note": self._plugin.note()}
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001  # as in the agent: sys.exit() in a hook ends nothing
            if isinstance(error, (VendorError, PredisError)) and request["call"] in _OF_DASHBOARDS:
                answer = {"refused": str(error), "vendor": isinstance(error, VendorError), "done": True}
            else:
                answer = {"error": describe(error), "origin": origin(error)}
        self._line.send(answer)

    def _start(self, request: dict[str, Any]) -> None:
        cache = dict(request["cache"])
        for name in ("unix_socket", "password_file", "arena"):
            cache[name] = None if cache[name] is None else Path(cache[name])
        logger = logging.getLogger(f"predis.plugins.{self._plugin.name}")
        address = CacheAddress(**cache)
        self._plugin.start(Host(Path(request["data_dir"]), address, request["version"], logger, self._emit))

    def _collect(self, request: dict[str, Any]) -> None:
        for chunk in wire.chunks(self._plugin.collect()):
            self._line.send({"samples": chunk})

    def _export(self, request: dict[str, Any]) -> None:
        self._plugin.export(self._snapshots.load(request["snapshot"]))

    def _detect(self, request: dict[str, Any]) -> None:
        anomalies = self._plugin.detect(self._snapshots.load(request["snapshot"]))
        for at in range(0, len(anomalies), _IN_ONE):
            self._line.send({"anomalies": [wire_analysis.dump(one) for one in anomalies[at : at + _IN_ONE]]})

    def _causes(self, request: dict[str, Any]) -> None:
        incident = wire_analysis.load_incident(request["incident"])
        causes = self._plugin.causes(incident, FarHistory(self._ask))
        self._line.send({"causes": [wire_analysis.dump(cause) for cause in causes]})

    def _forecast(self, request: dict[str, Any]) -> None:
        forecast = self._plugin.forecast(wire_analysis.load_request(request["request"]))
        self._line.send({"forecast": wire_analysis.dump(forecast)})

    def _ask(self, question: list[Any]) -> Any:
        self._line.send({"question": question})
        return self._line.answers.get()["answer"]

    def _bill(self, request: dict[str, Any]) -> None:
        charges = self._plugin.bill(self._snapshots.load(request["snapshot"]), request["interval"])
        self._line.send({"charges": [dataclasses.astuple(charge) for charge in charges]})

    def _dashboards(self, request: dict[str, Any]) -> dict[str, Any]:
        self._shipped = shipped = self._plugin.dashboards(request["url"])
        return {"vendor": shipped.vendor, "where": shipped.where}

    def _assets(self, request: dict[str, Any]) -> None:
        for asset in self._installer.assets():
            self._line.send({"asset": dump_asset(asset)})

    def _find(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"found": self._installer.find(load_asset(request["asset"]))}

    def _put(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"place": self._installer.put(load_asset(request["asset"]), request["found"])}

    def _shut(self, request: dict[str, Any]) -> None:
        self._installer.close()

    @property
    def _installer(self) -> Dashboards:
        if self._shipped is None:
            raise RuntimeError("predis_dashboards has not been called yet")
        return self._shipped

    def _destination(self, request: dict[str, Any]) -> dict[str, Any]:
        self._half = self._plugin.destination()
        return {"temporality": self._half.temporality}

    def _encode(self, request: dict[str, Any]) -> None:
        data = self._vendor.encode(wire.load_batch(request["batch"], self._series_of))
        for begin in range(0, len(data), wire.PIECE):
            self._line.send({"data": base64.b64encode(data[begin : begin + wire.PIECE]).decode()})

    def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        body = Body(request["lane"], base64.b64decode(request["data"]), request["encoding"])
        return {"answer": wire.dump_answer(self._vendor.send(body))}

    def _close(self, request: dict[str, Any]) -> None:
        self._vendor.close()

    @property
    def _vendor(self) -> Destination:
        if self._half is None:
            raise RuntimeError("predis_destination has not been called yet")
        return self._half

    def _series_of(self, spec: MetricSpec, labels: tuple[str, ...]) -> Series:
        """The same object each time, as long as the plugin keeps it: by it what was prepared is found."""
        series = self._series.get((spec, labels))
        if series is None:
            series = self._series[spec, labels] = Series(spec, labels)
        return series

    def reply(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to what may be asked at any time."""
        try:
            if question["call"] == "lanes":
                (spec,) = wire.load_specs([question["spec"]])
                return {"lanes": list(self._vendor.lanes(spec))}
            if question["call"] == "event_lanes":
                return {"lanes": list(self._vendor.event_lanes(wire.load_event(question["event"])))}
            return {"limits": dataclasses.asdict(self._vendor.limits(question["lane"]))}
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001  # as above
            return {"error": describe(error), "origin": origin(error)}

    def _stop(self, request: dict[str, Any]) -> None:
        self._plugin.stop()

    def _emit(self, event: Event) -> None:
        self._line.send({"event": wire.dump_event(event)})


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when the agent ends: what hangs in C code hears of nothing else."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _limit(memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold secrets


def _reply(questions: socket.socket, server: Server, line: Line) -> None:
    try:
        while (question := wire.receive(questions)) is not None:
            questions.sendall(wire.pack(server.reply(question)))
    except MemoryError:
        line.send_frame(_OUT_OF_MEMORY)
        os._exit(1)
    except OSError:
        pass  # the agent is gone, which the other connection says, too


def main() -> None:
    """Serve the agent until it closes the connection."""
    connection, questions = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    parent = int(sys.argv[3])
    _end_with(parent)
    line = Line(connection)
    setup = wire.receive(connection)
    if setup is None:
        return
    threading.Thread(target=line.listen, name="agent", daemon=True).start()
    try:
        _limit(setup["memory_limit"])
        sys.path[:] = setup["path"]
        logging.basicConfig(level=setup["log_level"], handlers=[_ToAgent(line)], format="%(message)s")
        server = Server(line, setup)
        threading.Thread(target=_reply, args=(questions, server, line), name="questions", daemon=True).start()
        line.send({"done": True, "plugin": server.describe()})
        while True:
            server.answer(line.requests.get())
    except MemoryError:
        line.send_frame(_OUT_OF_MEMORY)
        os._exit(1)


if __name__ == "__main__":
    main()
