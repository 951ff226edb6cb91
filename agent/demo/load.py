"""`python -m agent.demo.load SOCKET PASSWORD_FILE TRACE RATE`: an application that reads through the cache.

It fills the cache, then replays an access trace: each access is a GET; what is not there is fetched (made, of the key's
own size) and SET. A line of JSON each second says how it went: `reads`, `hits`, `errors` (failed commands), `wrong`
values so far, and the `p99` of the reads in that second, in seconds. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

PREFIX = "orm:"
RECONNECT = 0.05  # seconds between two tries to reach a cache that is away


def load_trace(path: Path) -> list[int]:
    """The keys of a trace, as numbers, in the order of the accesses."""
    with np.load(path) as arrays:
        return [int(key) for key in arrays["key"]]


def value_of(key: int) -> bytes:
    """What the origin has for a key: 512 to 2,559 bytes, always the same."""
    size = 512 + key * 2_654_435_761 % 2048
    return (b"%d:" % key + b"\x2a" * size)[:size]


class Application:
    """Reads keys through the cache at a steady rate. `wrong` counts values that are not those of their key."""

    def __init__(self, client: redis.Redis, keys: list[int], rate: float) -> None:
        self._client, self._keys, self._rate = client, keys, rate
        self._at = 0
        self.wrong = 0

    def fill(self) -> None:
        """Store every key of the trace."""
        keys = sorted(set(self._keys))
        for start in range(0, len(keys), 500):
            self._client.mset({f"{PREFIX}{key}": value_of(key) for key in keys[start : start + 500]})

    def second(self) -> dict[str, float]:
        """One second of work, on time: what cannot be done within it is left out."""
        began = time.monotonic()
        reads = hits = errors = 0
        took: list[float] = []
        for number in range(int(self._rate)):
            due = began + number / self._rate
            if (wait := due - time.monotonic()) > 0.001:
                time.sleep(wait)
            elif wait < -1.0:
                break
            key = self._keys[self._at]
            self._at = (self._at + 1) % len(self._keys)
            name = f"{PREFIX}{key}"
            start = time.perf_counter()
            try:
                value = self._client.get(name)
                took.append(time.perf_counter() - start)
                reads += 1
                if value is None:
                    self._client.set(name, value_of(key))
                else:
                    hits += 1
                    self.wrong += value != value_of(key)
            except redis.RedisError:
                errors += 1
                time.sleep(RECONNECT)
        return {
            "reads": reads,
            "hits": hits,
            "errors": errors,
            "wrong": self.wrong,
            "p99": float(np.quantile(took, 0.99)) if took else 0.0,
        }


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Run until the standard input ends."""
    unix_socket, password_file, trace, rate = sys.argv[1:5]
    client = redis.Redis(
        unix_socket_path=unix_socket,
        password=Path(password_file).read_text().strip(),
        socket_timeout=1.0,
        retry=Retry(ConstantBackoff(0), 0),
    )
    application = Application(client, load_trace(Path(trace)), float(rate))
    threading.Thread(target=_end_with_input, daemon=True).start()
    application.fill()
    while True:
        sys.stdout.write(json.dumps(application.second()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
