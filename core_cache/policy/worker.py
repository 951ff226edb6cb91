"""Retraining in a process of its own: `python -m core_cache.policy.worker`, one JSON object in, one out.

In: data_dir (of the cache, for its access log), capacity (bytes of the whole cache), current (path of the artefact in
place, or null), out (where the new artefact is written), memory_limit (bytes, beyond
its libraries). Out: {"report": …}, {"too_little": "…"}
or {"failed": "…"}. It ends when its input is closed: that is how it is stopped, and how it ends with its parent.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

_LOOK = 0.1  # seconds between two looks at whether somebody still waits
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PASSED = ("PATH", "LANG", "TMPDIR", "PYTHONPATH")
_NICE = 10


class WorkerError(RuntimeError):
    """There is no new model; the message says why. too_little: because there is too little to learn from."""

    def __init__(self, message: str, too_little: bool = False) -> None:
        self.too_little = too_little
        super().__init__(message)


def retrain_in_worker(
    data_dir: Path,
    capacity: int,
    current: Path | None,
    out: Path,
    memory_limit: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> Mapping[str, Any]:
    """Trains on the access log of the cache in data_dir and writes the artefact to `out`; gives what it was judged by.

    capacity: of the whole cache in bytes; the rehearsal gets the share of the keys that are logged. memory_limit: of
    the worker's process, in bytes, beyond its libraries. Raises WorkerError.
    """
    request = {
        "data_dir": str(data_dir),
        "capacity": capacity,
        "current": None if current is None else str(current),
        "out": str(out),
        "memory_limit": memory_limit,
    }
    environment = {name: value for name, value in os.environ.items() if name in _PASSED}
    # Into files, so that nothing has to be read while it works.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaint:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "core_cache.policy.worker"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complaint,
            env={**environment, **dict.fromkeys(_THREADS, "1")},
            start_new_session=True,
            text=True,
        )
        try:
            _wait(process, json.dumps(request), cancelled)
        finally:
            process.kill()
            process.wait()
            if process.stdin is not None:
                with suppress(OSError):  # it is gone, and what it did not read with it
                    process.stdin.close()
        said.seek(0)
        complaint.seek(0)
        return _report(said.read(), complaint.read(), process.returncode)


def _wait(process: subprocess.Popen[str], request: str, cancelled: Callable[[], bool]) -> None:
    """Until it has ended. Its input stays open meanwhile."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # what it says, or how it ended, tells why
        process.stdin.write(request + "\n")
        process.stdin.flush()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return
        if cancelled():
            raise WorkerError("the training was stopped: nobody waits for it any more")


def _report(said: str, complaint: str, status: int) -> Mapping[str, Any]:
    try:
        answer = json.loads(said)
    except ValueError:
        last = complaint.strip().splitlines()[-1:] or [f"its process ended with status {status}"]
        raise WorkerError(f"the training failed: {last[0]}") from None
    if "report" in answer:
        return dict(answer["report"])
    raise WorkerError(str(answer.get("too_little") or answer.get("failed")), "too_little" in answer)


def main() -> None:
    """The worker itself."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    os.nice(_NICE)
    try:
        answer = _retrain(request)
    except MemoryError:
        answer = {"failed": f"it needs more than its memory limit of {request['memory_limit']} bytes"}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def _retrain(request: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    from core_cache.access_log import AccessLog, AccessLogError
    from core_cache.policy.accesses import from_log
    from core_cache.policy.artefact import write

    try:
        from core_cache.policy.retraining import retrain
        from core_cache.policy.training import TooLittle
    except ModuleNotFoundError as error:
        return {"failed": f"{error.name} is not installed: pip install 'predis-agent[learning]'"}
    _limit_memory(request["memory_limit"])
    try:
        log = AccessLog(request["data_dir"])
    except AccessLogError as error:
        return {"failed": str(error)}
    parts = [log.read()]
    while len(parts[-1]):
        parts.append(log.read())
    accesses = from_log(np.concatenate(parts))
    current = None if request["current"] is None else Path(request["current"])
    try:
        made = retrain(accesses, max(1, int(request["capacity"] * log.rate)), current)
    except TooLittle as error:
        return {"too_little": f"the {len(accesses):,} accesses in the log, to {accesses.unique:,} keys, {error}"}
    report = made.as_dict() | {"seconds": 0 if accesses.times is None else int(accesses.times[-1]) / 1000}
    write(Path(request["out"]), replace(made.model, metadata=report))
    return {"report": report}


def _limit_memory(limit: int) -> None:
    """Of what it takes from now on: the libraries are there by now, and one that gets no memory at its import hangs."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + limit,) * 2)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
