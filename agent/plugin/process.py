"""A plugin's own process as the agent sees it: started, asked, bounded in time and bytes, and killed.

All that it sends is read during a call and by the caller, so nothing of it piles up in the agent: a process that writes
more than it is asked for comes to a halt, and one that writes too much in a call is killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from agent.config.load import ENV_PREFIX
from agent.config.show import is_secret_name
from agent.config.units import format_duration, format_size
from agent.plugin import wire
from agent.plugin.guard import Told

MOST_BYTES = 16 << 20  # in one call, messages and output together
_TAIL = 2000  # bytes of its output that are kept
_START_TIMEOUT = 10.0
_PIECE = 1 << 16


class ProcessFailed(Told):
    """The process is no more, or has been killed; the message says why."""


class HookRaised(Told):
    """The plugin's code raised in its process, which goes on."""


class ChildProcess:
    """One process of one plugin. One call at a time; `ask` and `kill` may come from any thread."""

    def __init__(self, memory_limit: int, passed: Collection[str] = ()) -> None:
        """`passed`: variables that it gets though their names are those of secrets."""
        self._memory_limit, self._passed = memory_limit, passed
        self._buffer, self._tail = bytearray(), b""
        self._until = 0.0
        self._killed_for: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble: OSError | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        self._asking = threading.Lock()
        self._connection, theirs = socket.socketpair()
        self._questions, for_questions = socket.socketpair()
        self._output, output = os.pipe()
        os.set_blocking(self._output, False)
        # The kernel kills the process when the thread that started it ends (PR_SET_PDEATHSIG), so that one stays.
        thread = threading.Thread(
            target=self._live, args=(theirs, for_questions, output), name="plugin process", daemon=True
        )
        thread.start()
        self._started.wait(_START_TIMEOUT)
        if self._process is None:
            self.close()
            raise ProcessFailed(f"its process cannot be started: {self._trouble or 'the machine is too busy'}")

    @property
    def pid(self) -> int | None:
        """Of the process, while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._ended.is_set() and self._killed_for is None

    def call(self, request: Any, deadline: float, told: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
        """Send a request and give the answer to it; `told` gets what is said before that.

        Raises HookRaised, or ProcessFailed, with the process killed, when it is not done after `deadline` seconds,
        sends what it should not, or ends.
        """
        until = self._until = time.monotonic() + deadline
        try:
            self._connection.settimeout(max(0.001, deadline))
            self._connection.sendall(wire.pack(request))
            return self._answer(until, told)
        except TimeoutError:
            raise self._failed(f"not done after {format_duration(deadline)}") from None
        except wire.WireError as error:
            raise self._failed(str(error)) from None
        except OSError:  # it is gone, or has been closed by whoever stops the plugin
            raise self._failed(self._death()) from None

    def reply(self, message: Any) -> None:
        """Answer what the process asks in a call; for `told`."""
        self._connection.settimeout(max(0.001, self._until - time.monotonic()))
        self._connection.sendall(wire.pack(message))
        self._connection.setblocking(False)

    def ask(self, question: Any, deadline: float) -> Mapping[str, Any]:
        """The answer to a question that it answers at once, whatever it is busy with. Raises as `call`."""
        until, buffer = time.monotonic() + deadline, bytearray()
        with self._asking:
            try:
                self._questions.settimeout(max(0.001, deadline))
                self._questions.sendall(wire.pack(question))
                while (answer := wire.take(buffer)) is None:
                    self._questions.settimeout(max(0.001, until - time.monotonic()))
                    if not (piece := self._questions.recv(_PIECE)):
                        raise ConnectionError
                    buffer += piece
                if not isinstance(answer, dict):
                    raise wire.WireError("it sent something that is no message")
            except TimeoutError:
                raise self._failed(f"no answer after {format_duration(deadline)}") from None
            except wire.WireError as error:
                raise self._failed(str(error)) from None
            except OSError:
                raise self._failed(self._death()) from None
        if "error" in answer:
            raise HookRaised(*_error(answer))
        return answer

    def kill(self, reason: str) -> None:
        """End it and all that it started."""
        self._killed_for = self._killed_for or reason
        if self._process is not None and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it if need be, and give back what it took here."""
        self.kill("it was stopped")
        self._ended.wait(1.0)
        self._connection.close()
        self._questions.close()
        if self._output >= 0:
            os.close(self._output)
            self._output = -1

    def _live(self, theirs: socket.socket, for_questions: socket.socket, output: int) -> None:
        descriptors = (theirs.fileno(), for_questions.fileno())
        command = [sys.executable, "-P", "-m", "agent.plugin.child", *map(str, descriptors), str(os.getpid())]
        # Its own secrets come over the socket; others' are none of its business.
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(ENV_PREFIX) and (name in self._passed or not is_secret_name(name))
        }
        environ.setdefault("OMP_NUM_THREADS", "1")  # libraries for arrays: a plugin takes one core, not all of them
        try:
            self._process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError as error:
            self._trouble = error
        finally:
            theirs.close()
            for_questions.close()
            os.close(output)
            self._started.set()
        if self._process is not None:
            self._process.wait()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)  # what it left behind
        self._ended.set()

    def _answer(self, until: float, told: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
        received = 0
        self._connection.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                while (message := wire.take(self._buffer)) is not None:
                    if not isinstance(message, dict):
                        raise wire.WireError("it sent something that is no message")
                    if message.get("memory"):
                        raise self._failed(f"it needs more than its memory_limit of {format_size(self._memory_limit)}")
                    if "error" in message:
                        raise HookRaised(*_error(message))
                    if message.get("done"):
                        return message
                    told(message)
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left):
                    received += self._read(selector, key.fileobj)
                    if received > MOST_BYTES:
                        raise wire.WireError(f"it wrote more than {format_size(MOST_BYTES)} in one call")

    def _read(self, selector: selectors.BaseSelector, source: Any) -> int:
        if source is self._connection:
            piece = self._connection.recv(_PIECE)
            if not piece:
                raise ConnectionError
            self._buffer += piece
        else:
            piece = os.read(self._output, _PIECE)
            self._tail = (self._tail + piece)[-_TAIL:]
            if not piece:  # it closed its output, which it may
                selector.unregister(source)
        return len(piece)

    def _failed(self, reason: str) -> ProcessFailed:
        already = self._killed_for
        self.kill(reason)
        self._ended.wait(1.0)
        return ProcessFailed(already or reason)

    def _death(self) -> str:
        """How it ended, with the last that it wrote."""
        self._ended.wait(1.0)
        status = self._process.returncode if self._process is not None else None
        if status is None:
            how = "it closed its connection"
        elif status < 0:
            how = f"it was killed by {_signal_name(-status)}"
        else:
            how = f"it ended by itself with status {status}"
        with contextlib.suppress(OSError, ValueError):
            self._tail = (self._tail + os.read(self._output, _PIECE))[-_TAIL:]
        lines = self._tail.decode(errors="replace").split("\n")
        last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
        return f"{how}; it wrote last: {last[:200]}" if last else how


def _error(message: Mapping[str, Any]) -> tuple[str, Any]:
    return str(message["error"]), message.get("origin")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
