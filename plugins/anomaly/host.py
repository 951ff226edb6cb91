"""All numbers of this host and its cache together: what is usual for each may be unusual for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np

from agent.api import Anomaly
from plugins.anomaly.engine.channels import DAY, HOUR
from plugins.anomaly.engine.table import Array
from plugins.anomaly.multivariate.model import Contribution, HostModel, Settings, with_pace

Watched = tuple[str, tuple[str, ...], str]

OF_THE_HOST: Final = ("predis_host_*", "predis_cache_*", "predis_memory_*", "predis_keyspace_*", "predis_network_*",
                      "predis_evicted_*", "predis_expired_*", "predis_connections*", "predis_commands_total",
                      "predis_command_duration_seconds", "predis_gpu_*")  # fmt: skip
MOST: Final = 200  # the cost of a row grows with the square
SHARE: Final = 0.1  # of the false alerts that are put up with
CALM_ROWS: Final = 12
CALM: Final = 10.0  # times the probability that began it, at which a row is calm
EARLIEST: Final = 1e-9
SPREADS: Final = 3.0  # of a metric's own scale: the band that is shown
PREFIX: Final = "host."


class HostWatch:
    """One model of the host's numbers. An anomaly of it has the channel "host" and the series that adds most to it.

    It begins when a row is rarer than the false alerts per day allow, and ends after CALM_ROWS rows that are not nearly
    as rare, or after six hours: what lasts longer is how things are now.
    """

    def __init__(self, false_alerts_per_day: float) -> None:
        self._per_day = false_alerts_per_day * SHARE
        self.keys: list[Watched] = []
        self._model: HostModel | None = None
        self._interval = 10.0
        self.open: _Open | None = None

    @staticmethod
    def wants(key: Watched) -> bool:
        """Whether a number is one of the host's."""
        return any(fnmatchcase(key[0], pattern) for pattern in OF_THE_HOST)

    def take(self, values: Mapping[Watched, float], time: float, interval: float) -> None:
        """One row: the host's numbers, NaN where there is none. `interval`: seconds between rows."""
        known = set(self.keys)
        fresh = [key for key in values if key not in known][: MOST - len(self.keys)]
        if fresh or self._model is None:
            self._choose([*self.keys, *fresh], interval)
        assert self._model is not None
        row = np.array([values.get(key, np.nan) for key in self.keys])
        found = self._model.update(row, time)
        limit = max(self._per_day * interval / DAY, EARLIEST)
        if self.open is None:
            if found.p_value <= limit and found.top:
                self.open = _Open(time, limit, found.p_value, found.score, found.top[0], self.keys[found.top[0].metric])
            return
        self.open.worse(found.p_value, found.score)
        self.open.calm = self.open.calm + 1 if found.p_value > CALM * self.open.limit else 0
        place = self.keys.index(self.open.key) if self.open.key in self.keys else None
        if place is None or self.open.calm >= CALM_ROWS or not 0 <= time - self.open.since <= 6 * HOUR:
            self.open = None
        elif np.isfinite(row[place]):
            self.open.value = float(row[place])

    def anomaly(self, time: float, labels: Mapping[str, tuple[str, ...]]) -> Anomaly | None:
        """What lasts, if anything."""
        if self.open is None or self._model is None:
            return None
        name, values, part = self.open.key
        low, high = self._model.band(self.keys.index(self.open.key), SPREADS)
        score = 1 - self.open.p_value**0.25
        return Anomaly(
            (name, values), labels.get(name, ()), self.open.since, time, "host" + part, self.open.value, low, high,
            score, self.open.p_value,
        )  # fmt: skip

    def forget(self, gone: set[Watched]) -> None:
        """These numbers are no more."""
        if gone & set(self.keys):
            self._choose([key for key in self.keys if key not in gone], self._interval)

    def dump(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What `restore` takes."""
        arrays = {} if self._model is None else {PREFIX + name: array for name, array in self._model.save().items()}
        keys = [[name, list(labels), part] for name, labels, part in self.keys]
        return {"keys": keys, "interval": self._interval}, arrays

    def restore(self, about: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take up what `dump` gave. Raises ValueError or KeyError where it does not fit."""
        keys = [(name, tuple(labels), part) for name, labels, part in about["keys"]]
        self._interval = float(about["interval"])
        state = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
        if not state:
            return
        model = HostModel.load(state, with_pace(Settings(), self._interval))
        if model.metrics != len(keys):
            raise ValueError(f"the host's model has {model.metrics} numbers, and {len(keys)} names")
        self.keys, self._model = keys, model

    def _choose(self, keys: list[Watched], interval: float) -> None:
        places = {key: place for place, key in enumerate(self.keys)}
        if self._model is None:
            self._interval = interval
            self._model = HostModel(len(keys), with_pace(Settings(), interval))
        else:
            self._model = self._model.selected([places.get(key) for key in keys])
        self.keys = keys


class _Open:
    """An anomaly of the host that lasts."""

    def __init__(
        self, since: float, limit: float, p_value: float, score: float, first: Contribution, key: Watched
    ) -> None:
        self.since, self.limit, self.p_value, self.score = since, limit, p_value, score
        self.value, self.key = first.value, key
        self.calm = 0

    def worse(self, p_value: float, score: float) -> None:
        """The rarest row is what counts."""
        if p_value < self.p_value:
            self.p_value, self.score = p_value, score
