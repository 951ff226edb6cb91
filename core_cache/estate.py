"""What a cache process leaves to the next, and how it lets go of it (see handoff.py)."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from core_cache import __version__, _native
from core_cache.doors import Doors, drain
from core_cache.handoff import HandoffWork, Request
from core_cache.listeners import Listeners, addresses
from core_cache.options import Options
from core_cache.saving import Saving


class Estate(HandoffWork):
    """The sockets and the arena of a server. `stop` is set when they are another's."""

    def __init__(
        self,
        options: Options,
        engine: _native.Engine,
        listeners: Listeners,
        doors: Doors,
        saving: Saving,
        stop: asyncio.Event,
    ) -> None:
        self._options, self._engine, self._saving = options, engine, saving
        self._listeners, self._doors, self._stop = listeners, doors, stop
        self._shut_at = 0.0

    async def prepare(self, request: Request) -> str | None:
        """See HandoffWork."""
        if self._stop.is_set():
            return "it is stopping"
        if request.addresses != addresses(self._options, self._listeners.unix_path):
            return "it listens elsewhere than the new process is to: that needs a restart"
        if (refused := self._another_layout(request)) is not None:
            return refused
        self._shut_at = time.monotonic()
        self._doors.shut()
        self._saving.stop()
        await drain(self._engine)
        # In the last moments keys may have come into a cache that had none.
        if (refused := self._another_layout(request)) is not None:
            await self.undo()
        return refused

    def gift(self) -> tuple[dict[str, object], dict[str, socket.socket]]:
        """See HandoffWork."""
        fields: dict[str, object] = {
            "pid": os.getpid(),
            "version": __version__,
            "layout": _native.LAYOUT_VERSION,
            "keys": self._engine.keys,
            "shut_at": self._shut_at,
        }
        return fields, self._listeners.sockets

    async def undo(self) -> None:
        """See HandoffWork."""
        await self._doors.open()
        self._saving.begin()

    def done(self) -> None:
        """See HandoffWork."""
        self._stop.set()

    def _another_layout(self, request: Request) -> str | None:
        mine, keys = _native.LAYOUT_VERSION, self._engine.keys
        if request.layout == mine or not keys:
            return None
        return (
            f"version {request.version} reads arenas of layout {request.layout}, the {keys} keys here are in one of"
            f" layout {mine}: they would be lost (FLUSHALL first if they may be)"
        )
