"""`python -m agent.demo.load SOCKET PASSWORD_FILE ORIGIN_PORT TRACE RATE`: an application that reads through the cache.

It fills the cache, then replays an access trace: each access is a GET; what is not there is fetched from the origin and
SET. One access in fifty is a change: what the cache has of the key is no longer good, and is deleted before it is read.
A line of JSON each second says how it went: `reads`, `hits`, `errors` (reads that failed), `wrong` values so far, and,
in seconds, the `p99` of the cache's answers and the mean time of a `fetch` from the origin, 0 where there was none. It
ends with its standard input.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from agent.demo.ending import end_with_input
from agent.demo.origin import value_of

PREFIX = "orm:"
RECONNECT = 0.05  # seconds between two tries to reach a cache that is away
CHANGES = 50  # one access in so many
FETCH_TIMEOUT = 5.0


def load_trace(path: Path) -> list[int]:
    """The keys of a trace, as numbers, in the order of the accesses."""
    with np.load(path) as arrays:
        return [int(key) for key in arrays["key"]]


class OriginClient:
    """One connection to the origin that stays; it is made anew when it was ended."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=FETCH_TIMEOUT)

    def fetch(self, key: int) -> bytes:
        """Its value. Raises OSError, http.client.HTTPException."""
        try:
            return self._get(key)
        except (ConnectionError, http.client.HTTPException):  # ended meanwhile, as by a balancer that has switched
            return self._get(key)

    def _get(self, key: int) -> bytes:
        try:
            self._connection.request("GET", f"/value/{key}")
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()  # a late answer must not be taken for the next one
            raise
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        return body


class Application:
    """Reads keys through the cache at a steady rate. `wrong` counts values that are not those of their key."""

    def __init__(self, client: redis.Redis, origin: OriginClient, keys: list[int], rate: float) -> None:
        self._client, self._origin, self._keys, self._rate = client, origin, keys, rate
        self._at = 0
        self.wrong = 0

    def fill(self) -> None:
        """Store every key of the trace."""
        keys = sorted(set(self._keys))
        for start in range(0, len(keys), 500):
            self._client.mset({f"{PREFIX}{key}": value_of(key) for key in keys[start : start + 500]})

    def second(self) -> dict[str, float]:
        """One second of work: what cannot be done within it is left out."""
        began = time.monotonic()
        reads = hits = errors = 0
        took: list[float] = []
        fetched: list[float] = []
        for number in range(int(self._rate)):
            now = time.monotonic()
            if (wait := began + number / self._rate - now) > 0.001:
                time.sleep(wait)
            elif now > began + 1.0:
                break
            key = self._keys[self._at % len(self._keys)]
            self._at += 1
            name = f"{PREFIX}{key}"
            try:
                if self._at % CHANGES == 0:
                    self._client.delete(name)
                start = time.perf_counter()
                value = self._client.get(name)
                took.append(time.perf_counter() - start)
                if value is None:
                    start = time.perf_counter()
                    value = self._origin.fetch(key)
                    fetched.append(time.perf_counter() - start)
                    self._client.set(name, value)
                else:
                    hits += 1
                reads += 1
                self.wrong += value != value_of(key)
            except (redis.RedisError, OSError, http.client.HTTPException):
                errors += 1
                time.sleep(RECONNECT)
        return {
            "reads": reads,
            "hits": hits,
            "errors": errors,
            "wrong": self.wrong,
            "p99": float(np.quantile(took, 0.99)) if took else 0.0,
            "fetch": fmean(fetched) if fetched else 0.0,
        }


def main() -> None:
    """Run until the standard input ends."""
    unix_socket, password_file, origin_port, trace, rate = sys.argv[1:6]
    client = redis.Redis(
        unix_socket_path=unix_socket,
        password=Path(password_file).read_text().strip(),
        socket_timeout=1.0,
        retry=Retry(ConstantBackoff(0), 0),
    )
    application = Application(client, OriginClient(int(origin_port)), load_trace(Path(trace)), float(rate))
    threading.Thread(target=end_with_input, daemon=True).start()
    application.fill()
    while True:
        sys.stdout.write(json.dumps(application.second()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
