"""Tells systemd how the service is, over the datagram socket that sd_notify(3) describes; without systemd, nothing.

The watchdog pings only while every loop that the agent consists of makes progress. A ping that a timer sends by itself
would keep alive an agent that does nothing any more.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

from agent.pulse import Pulse

log = logging.getLogger(__name__)

ENVIRONMENT = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Sends state changes to the socket at `address` (a path, or `@name` for an abstract one); None sends nothing."""

    def __init__(self, address: str | None) -> None:
        self._address: str | None = None
        self._socket: socket.socket | None = None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def ready(self, status: str) -> None:
        """Start or reload is complete."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def not_yet(self, status: str, seconds: float) -> None:
        """Start or reload go on: another such message, or `ready`, comes within so many seconds."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. systemd compares the time with that of its own signal."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """The stop has begun."""
        self._send("STOPPING=1", f"STATUS={status}")

    def watchdog(self) -> None:
        """The service does what it should."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Sends nothing from now on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        # A manager that does not read must not hold up the agent.
        with contextlib.suppress(OSError):
            self._socket.sendto(message.encode(), self._address)


class Watchdog:
    """Pings at half of the period that systemd asked for, as long as no beat of `pulse` is late.

    `tick` must be called often, from the loop that is the last one to be proved alive. A `period` of None never pings.
    """

    def __init__(
        self, notifier: Notifier, pulse: Pulse, period: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notifier, self._pulse, self._clock = notifier, pulse, clock
        self.interval = None if period is None else period / 2
        self._next = clock()
        self._late: frozenset[str] = frozenset()

    def tick(self) -> None:
        """Sends a ping when one is due and all is well; says once what is late otherwise."""
        if self.interval is None or self._clock() < self._next:
            return
        late = self._pulse.late()
        if frozenset(late) != self._late:
            self._late = frozenset(late)
            if late:
                shown = ", ".join(f"{name} ({age:.0f} s)" for name, age in late.items())
                log.error("no progress, so the watchdog is not fed: %s", shown)
        if not late:
            self._notifier.watchdog()
            self._next = self._clock() + self.interval


def from_environment(environ: MutableMapping[str, str], pid: int | None = None) -> tuple[Notifier, float | None]:
    """The notifier and the watchdog's period in seconds (None: no watchdog) that systemd set up for this process.

    Takes the variables out of `environ`, so that no child process speaks in the agent's name.
    """
    address, microseconds, watched = (environ.pop(name, None) for name in ENVIRONMENT)
    period = None
    if microseconds is not None and microseconds.isdigit() and int(microseconds) > 0:
        addressee = os.getpid() if pid is None else pid
        if watched is None or watched == str(addressee):
            period = int(microseconds) / 1e6
    return Notifier(address), period
