"""`python -m agent.demo.tenant SOCKET NAME PASSWORD_FILE`: another application, which has a tenant of the cache.

It reads and writes a few keys of its own, 100 times a second. A line "flood" on its standard input makes it do so as
fast as it can, as a program does that tries again and again without a pause; "calm" ends that. A line of JSON each
second says how many `commands` it got done, and its `errors`. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

RATE = 100  # commands a second
KEYS = 500
BATCH = 100  # commands that a flood sends together
RECONNECT = 0.05  # seconds between two tries to reach a cache that is away


class Neighbour:
    """`flooding` may be set by another thread."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client, self._name, self._at = client, name, -1
        self.flooding = False

    def second(self) -> dict[str, int]:
        """One second of work."""
        began, commands, errors = time.monotonic(), 0, 0
        while (passed := time.monotonic() - began) < 1.0:
            count = BATCH if self.flooding else 1
            if not self.flooding and (wait := commands / RATE - passed) > 0:
                time.sleep(min(wait, 1.0 - passed))
                continue
            try:
                self._work(count)
                commands += count
            except redis.RedisError:
                errors += 1
                time.sleep(RECONNECT)
        return {"commands": commands, "errors": errors}

    def _work(self, count: int) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for _ in range(count):
                self._at += 1
                key = f"{self._name}:{self._at // 10 % KEYS}"
                if self._at % 10:
                    pipeline.get(key)
                else:  # the first of ten: the others find it
                    pipeline.set(key, "x" * 100)
            pipeline.execute()

    def listen(self) -> None:
        """For a thread: does what the standard input says, and ends the process with it."""
        for line in sys.stdin:
            self.flooding = line.strip() == "flood"
        os._exit(0)


def main() -> None:
    """Run until the standard input ends."""
    unix_socket, name, password_file = sys.argv[1:4]
    client = redis.Redis(
        unix_socket_path=unix_socket,
        username=name,
        password=Path(password_file).read_text().strip(),
        socket_timeout=5.0,
        retry=Retry(ConstantBackoff(0), 0),
    )
    neighbour = Neighbour(client, name)
    threading.Thread(target=neighbour.listen, daemon=True).start()
    while True:
        sys.stdout.write(json.dumps(neighbour.second()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
