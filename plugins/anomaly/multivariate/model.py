"""A model of one host: what its metrics do together, learnt row by row in a state of fixed size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plugins.anomaly.multivariate.tail import ScoreTail

Floats = NDArray[np.float64]

ABSURD = 100.0  # standard deviations
BEYOND_REASON = 1e100  # values of that size are not learnt: their squares could not be added up
CHANGE_FLOOR = 0.2  # standard deviations: smaller changes from row to row are no news


@dataclass(frozen=True, slots=True)
class Settings:
    """How the model learns. Lengths are in rows, deviations in standard deviations of a metric.

    mature: rows over which plain averages are taken, three weeks of minutes: what is the norm here is known then.
    memory: rows after which a row is forgotten by a mature model. So slowly that an incident of days does not become
    the norm; that levels drift is the business of the recent level.
    recent: half-life of the recent level, against which a shift is seen; it follows by at most `follow` a row.
    smoothing: half-lives of the averages of the deviations: a spike shows in the first, a long one in the last.
    scale_floor: the least scale of a metric, as a share of the range it was seen in.
    linear: up to which deviation a metric speaks for the common factors; `cap`: how much it can add to a score.
    learnt: up to which deviation a mature model learns a value, so that an incident does not widen what is usual.
    A young model cannot tell an incident from the norm: it learns all but the ABSURD.
    factor: a factor is taken out if it carries the variance of this many metrics, half of it at just that.
    block: rows that are learnt at once. The first block is only learnt, and nothing is judged in it.
    """

    mature: float = 30_000
    memory: float = 200_000
    recent: float = 1440
    follow: float = 1.0
    smoothing: tuple[float, ...] = (3, 10, 60)
    scale_floor: float = 0.01
    linear: float = 3.0
    cap: float = 20.0
    learnt: float = 5.0
    factor: float = 3.0
    block: int = 60


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a metric adds to a score: its share of it, its value, and how far that is from what the other metrics let
    expect, in standard deviations of the metric."""

    metric: int
    share: float
    value: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Residual:
    """What a row is: the mean deviation over the metrics (smoothed, in standard deviations), how rare that is, and
    the metrics that add most to it. While the model warms up, p_value is 1."""

    time: float
    score: float
    p_value: float
    top: tuple[Contribution, ...] = ()


class HostModel:
    """Deviations of a host's metrics from what they were and from what they do together.

    Each metric is standardised by its running mean and standard deviation. Factors that many metrics share (load, most
    of all) are taken out: by principal components of the running covariance of the clipped values, each shrunk by
    λ²/(λ² + factor²) instead of a fixed number of them. (Residuals of principal components as the statistic of process
    control: Jackson and Mudholkar 1979; clipping so that an outlier in one metric does not spread to others: Huber.)
    What is left over speaks in three ways, each capped, whose mean over the metrics is the score: how far it is from
    the level of all the past, from the level of the last day (levels drift, and what stays is no news), and from the
    row before (in units of its own usual changes). Averages over several lengths are added up.

    A row costs O(metrics²), a block O(metrics³), the state about 8 × metrics × (metrics + 2 × block) bytes: right for
    some hundreds of metrics. NaN is left out of a row; a metric without a value keeps its state. Infinities and numbers
    beyond all reason are as odd as a value can be, and not learnt. Not for use from several threads at once.
    """

    def __init__(self, metrics: int, settings: Settings | None = None, least: float | Floats = 0.0) -> None:
        """metrics: the length of a row. least: the least scale per metric (or of all), in its unit, where one is known
        beforehand, such as 0.01 for a ratio: deviations are divided by that at least."""
        self.settings = settings or Settings()
        self._least = np.broadcast_to(np.asarray(least, float), (metrics,)).copy()
        self._tail = ScoreTail(self.settings.mature)
        size, block = metrics, self.settings.block
        self._rows = np.zeros(size)  # values learnt, per metric
        self._mean = np.zeros(size)
        self._variance = np.zeros(size)
        self._low = np.full(size, np.nan)
        self._high = np.full(size, np.nan)
        self._clipped_mean = np.zeros(size)
        self._covariance = np.zeros((size, size))
        self._slow = np.zeros(size)
        self._last = np.zeros(size)
        self._change_variance = np.zeros(size)
        self._smooth = np.zeros((len(self.settings.smoothing), size))
        self._values = np.full((block, size), np.nan)  # what is learnt when it is full
        self._changes = np.full((block, size), np.nan)
        self._filled = 0
        self._prepare()

    @property
    def metrics(self) -> int:
        """The length of a row."""
        return len(self._rows)

    @property
    def state_bytes(self) -> int:
        """What the state takes up in memory."""
        return sum(array.nbytes for array in self.save().values())

    def update(self, row: Sequence[float] | Floats, time: float = 0.0, top: int = 5) -> Residual:
        """Judge one row by the rows before it, then learn it.

        row: one value per metric, in any unit, NaN where there is none. Raises ValueError for another length.
        top: of how many metrics the contribution is wanted.
        """
        values = np.array(row, float)
        if values.shape != self._rows.shape:
            raise ValueError(f"a row has {self.metrics} values, one per metric of this model; this one: {values.shape}")
        beyond = np.abs(values) >= BEYOND_REASON  # False for NaN
        self._values[self._filled] = np.where(beyond, np.nan, values)
        values[beyond] = np.copysign(np.inf, values[beyond])  # whatever the metric's scale is, that is far
        judged = ~np.isnan(values) & self._settled
        result = Residual(time, 0.0, 1.0)
        if judged.any():
            residual = self._residual(np.where(judged, (values - self._mean) / self._scale, 0.0), judged)
            deviation = self._deviation(residual, judged)
            score = float(deviation.mean())
            warm = self._tail.rows >= self.settings.block
            if warm and top:
                result = Residual(time, score, self._tail.p_value(score), _top(deviation, values, residual, top))
            else:
                result = Residual(time, score, self._tail.p_value(score) if warm else 1.0)
            self._tail.add(score, float(self._rows.max()))
        self._filled += 1
        if self._filled == len(self._values):
            self._learn()
        return result

    def band(self, metric: int, spreads: float) -> tuple[float, float]:
        """So many of its standard deviations around what a metric is on average, in its unit."""
        reach = spreads * float(self._scale[metric])
        return float(self._mean[metric]) - reach, float(self._mean[metric]) + reach

    def settle(self) -> None:
        """Take what was learnt so far for the norm, as if the model were mature: from now on it learns slowly."""
        self._rows[self._rows > 0] = np.maximum(self._rows[self._rows > 0], self.settings.mature + 1)

    def selected(self, sources: Sequence[int | None]) -> HostModel:
        """The model for another choice of metrics: `sources` has, for each of them, where it stood in this one, or None
        where it is new. What was learnt of the others is kept."""
        new = HostModel(len(sources), self.settings)
        here = [place for place, source in enumerate(sources) if source is not None]
        there = [source for source in sources if source is not None]
        for name, array in self._arrays().items():
            target = new._arrays()[name]
            if array.shape == (self.metrics, self.metrics):
                target[np.ix_(here, here)] = array[np.ix_(there, there)]
            else:
                target[..., here] = array[..., there]
        new._tail = ScoreTail(self.settings.mature, self._tail.counts.copy())
        new._filled = self._filled
        new._prepare()
        return new

    def save(self) -> dict[str, Floats]:
        """The whole state as arrays, for numpy.savez."""
        return {**self._arrays(), "tail": self._tail.counts, "filled": np.array([self._filled], float)}

    @classmethod
    def load(cls, state: Mapping[str, Any], settings: Settings | None = None) -> HostModel:
        """The model that was saved. Raises ValueError if the arrays do not fit together."""
        try:
            model = cls(len(state["rows"]), settings)
            for name, array in model._arrays().items():
                array[...] = np.asarray(state[name], float)
            tail = np.asarray(state["tail"], float)
            if tail.shape != model._tail.counts.shape:
                raise ValueError(f"tail has {tail.shape} bins")
            model._tail.counts = tail.copy()
            model._filled = int(state["filled"][0])
            if not 0 <= model._filled < len(model._values):
                raise ValueError(f"{model._filled} rows of {len(model._values)} are filled")
            model._prepare()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"this is no state of a host model of this version: {error}") from error
        return model

    def _arrays(self) -> dict[str, Floats]:
        return {
            "least": self._least,
            "rows": self._rows,
            "mean": self._mean,
            "variance": self._variance,
            "low": self._low,
            "high": self._high,
            "clipped_mean": self._clipped_mean,
            "covariance": self._covariance,
            "slow": self._slow,
            "last": self._last,
            "change_variance": self._change_variance,
            "smooth": self._smooth,
            "values": self._values,
            "changes": self._changes,
        }

    def _prepare(self) -> None:
        """Derive what judging a row takes from what was learnt."""
        self._settled = self._rows >= self.settings.block / 2
        self._scale = self._scales()
        self._change_scale = np.sqrt(self._change_variance) + CHANGE_FLOOR
        values, vectors = np.linalg.eigh(self._covariance)
        squares = np.maximum(values, 0) ** 2
        self._common = (vectors * (squares / (squares + self.settings.factor**2))) @ vectors.T

    def _scales(self) -> Floats:
        """The standard deviation of each metric, and some of its range for those that hardly ever move."""
        # Movements of a thousandth of the value itself mean nothing, however still a metric was.
        reach = np.maximum(np.nan_to_num(self._high - self._low), np.abs(self._mean) / 10)
        reach[reach == 0] = 1.0
        floor = np.maximum(self.settings.scale_floor * reach, self._least)
        return np.asarray(np.sqrt(self._variance) + floor, float)

    def _residual(self, standard: Floats, judged: NDArray[np.bool_]) -> Floats:
        """What the common factors do not explain of standardised values, 0 where nothing is judged."""
        centred = np.clip(standard, -self.settings.linear, self.settings.linear) - self._clipped_mean
        centred[~judged] = 0.0
        residual = np.clip(standard - self._common @ centred, -self.settings.cap, self.settings.cap)
        residual[~judged] = 0.0
        return np.asarray(residual, float)

    def _deviation(self, residual: Floats, judged: NDArray[np.bool_]) -> Floats:
        """What each metric adds to the score; follows the recent level and the averages on the way."""
        settings = self.settings
        change = residual - self._last
        shift = residual - self._slow
        self._changes[self._filled] = np.where(judged, change, np.nan)
        parts = np.minimum(np.abs((residual, shift, change / self._change_scale)), settings.cap)
        now = np.where(judged, parts.mean(axis=0), 0.0)
        paces = 1 - 0.5 ** (1 / np.array(settings.smoothing, float)[:, None])
        self._smooth += paces * (now - self._smooth)
        self._last += np.where(judged, 0.5 * change, 0.0)
        follow = (1 - 0.5 ** (1 / settings.recent)) * np.clip(shift, -settings.follow, settings.follow)
        self._slow += np.where(judged, follow, 0.0)
        return np.asarray(self._smooth.mean(axis=0), float)

    def _learn(self) -> None:
        """Take the block's rows into the averages."""
        settings, values = self.settings, self._values
        known = np.isfinite(values)
        counts = known.sum(axis=0).astype(float)
        old = self._rows > 0
        learnt = np.where(self._rows > settings.mature, settings.learnt, ABSURD)
        reach = learnt * self._scale
        clipped = np.where(old, np.clip(values, self._mean - reach, self._mean + reach), values)
        block_mean = np.where(known, clipped, 0.0).sum(axis=0) / np.maximum(counts, 1)
        step = np.where(counts > 0, block_mean - self._mean, 0.0)
        block_variance = np.where(known, (clipped - block_mean) ** 2, 0.0).sum(axis=0) / np.maximum(counts, 1)
        share = self._share(counts, self._rows)
        self._variance += share * (block_variance - self._variance + (1 - share) * step**2)
        self._mean += share * step
        low, high = _second_extremes(values)
        self._low, self._high = np.fmin(self._low, low), np.fmax(self._high, high)
        self._learn_covariance(values, known, counts)
        self._rows = self._rows + counts
        changes = np.isfinite(self._changes)
        square = np.where(changes, self._changes, 0.0) ** 2
        bound = (learnt * self._change_scale) ** 2
        mean_square = np.minimum(square, bound).sum(axis=0) / np.maximum(changes.sum(axis=0), 1)
        self._change_variance += np.where(changes.any(axis=0), share * (mean_square - self._change_variance), 0.0)
        self._values[:], self._changes[:] = np.nan, np.nan
        self._filled = 0
        self._prepare()

    def _share(self, counts: Floats, before: Floats) -> Floats:
        """The weight of so many new rows in an average over `before` rows."""
        rows = before + counts
        rows = np.where(rows > self.settings.mature, np.maximum(self.settings.memory, counts), rows)
        return np.asarray(counts / np.maximum(rows, 1), float)

    def _learn_covariance(self, values: Floats, known: NDArray[np.bool_], counts: Floats) -> None:
        # By the new averages: before a first block there are no others.
        linear = self.settings.linear
        standard = np.where(known, np.clip((values - self._mean) / self._scales(), -linear, linear), 0.0)
        share = self._share(counts, self._rows)
        self._clipped_mean += share * (standard.sum(axis=0) / np.maximum(counts, 1) - self._clipped_mean)
        centred = np.where(known, standard - self._clipped_mean, 0.0)
        pairs = known.T.astype(float) @ known
        product = (centred.T @ centred) / np.maximum(pairs, 1)
        rate = self._share(pairs, np.minimum.outer(self._rows, self._rows))
        self._covariance += rate * (product - self._covariance)


def _second_extremes(values: Floats) -> tuple[Floats, Floats]:
    """The second lowest and second highest of each column, NaN left out: one wrong value does not stretch a range."""
    low = np.sort(values, axis=0)  # NaN last
    high = -np.sort(-values, axis=0)
    second = min(1, len(values) - 1)
    return low[second], high[second]


def _top(deviation: Floats, values: Floats, residual: Floats, top: int) -> tuple[Contribution, ...]:
    order = np.argsort(-deviation, kind="stable")[:top]
    total = float(deviation.sum())
    return tuple(
        Contribution(int(place), float(deviation[place]) / total, _finite(values[place]), float(residual[place]))
        for place in order
        if deviation[place] > 0
    )


def _finite(value: float) -> float:
    return float(np.clip(value, -BEYOND_REASON, BEYOND_REASON))


def with_pace(settings: Settings, interval: float) -> Settings:
    """The same lengths of time for rows every `interval` seconds as the defaults have for rows every minute."""
    rows = 60 / interval
    return replace(
        settings,
        mature=settings.mature * rows,
        memory=settings.memory * rows,
        recent=settings.recent * rows,
        smoothing=tuple(length * rows for length in settings.smoothing),
    )
