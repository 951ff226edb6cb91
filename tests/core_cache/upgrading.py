"""Clients that go on while a cache is upgraded: acknowledged writes are known, and every error is counted."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from core_cache import attach


class Clients:
    """Writers with pipelines, clients that connect anew each time, and a local reader, until `stop`.

    A connection that ends is made anew (redis-py's Retry); an error reply, or a connection that is refused, is kept in
    `errors`.
    """

    def __init__(self, connect: Callable[[], redis.Redis], data_dir: Path, writers: int = 4) -> None:
        self.acknowledged: dict[str, int] = {}
        self.errors: list[str] = []
        self.counts: Counter[str] = Counter()
        self._connect, self._data_dir = connect, data_dir
        self._stop = threading.Event()
        targets = [(self._write, number) for number in range(writers)] + [(self._visit, 0), (self._read, 0)]
        self._threads = [threading.Thread(target=self._guarded, args=target) for target in targets]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _guarded(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test is to say it
            self.errors.append(f"{work.__name__} {number}: {error!r}")

    def _write(self, number: int) -> None:
        client, version = self._connect(), 0
        while not self._stop.is_set():
            version += 1
            keys = [f"w{number}:{version % 50}:{part}" for part in range(8)]
            try:
                with client.pipeline(transaction=False) as pipeline:
                    for key in keys:
                        pipeline.set(key, f"{key}={version}")
                    pipeline.get(keys[0])
                    answers = pipeline.execute()
            except redis.ConnectionError as error:
                self.counts["reconnects"] += 1
                if "refused" in str(error):
                    self.errors.append(str(error))
                continue  # what was not acknowledged may be there or not; the next round of these keys writes them anew
            assert answers[:-1] == [True] * 8, answers
            assert answers[-1] == f"{keys[0]}={version}".encode(), answers
            for key in keys:
                self.acknowledged[key] = version
            self.counts["writes"] += 8

    def _visit(self, _: int) -> None:
        while not self._stop.is_set():
            client = self._connect()
            try:
                assert client.ping()
                self.counts["visits"] += 1
            except redis.ConnectionError as error:
                self.counts["visits cut off"] += 1
                if "refused" in str(error):
                    self.errors.append(str(error))
            finally:
                client.close()

    def _read(self, _: int) -> None:
        reader = attach(self._data_dir)
        while not self._stop.is_set():
            for key in list(self.acknowledged)[:200]:
                try:
                    value = reader.get(key)
                except Exception as error:
                    if type(error).__name__ not in ("Unavailable", "ArenaError", "TimeoutError"):
                        raise
                    self.counts["reads put off"] += 1
                    continue
                assert value is None or value.decode().startswith(f"{key}="), (key, value)
                self.counts["reads"] += 1

    def lost(self, client: redis.Redis) -> list[str]:
        """The acknowledged writes that are not there any more, or are older than what was acknowledged."""
        lost = []
        for key, version in self.acknowledged.items():
            value = client.get(key)
            if value is None or int(value.decode().rpartition("=")[2]) < version:
                lost.append(f"{key}: {value!r}, version {version} was acknowledged")
        return lost


def retrying(port: int, password: str | None, **given: object) -> redis.Redis:
    """redis-py as people set it up: a connection that ends is made anew, once or twice."""
    retry = Retry(ConstantBackoff(0.01), 2)
    return redis.Redis("127.0.0.1", port, password=password, socket_timeout=30, retry=retry, **given)  # type: ignore[arg-type]
