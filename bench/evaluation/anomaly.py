"""Univariate detection on the Numenta benchmark and Microsoft's cloud metrics, beside simple detectors.

    python -m bench.evaluation.anomaly [--shared DIR] [--splits N]

The scores come from the engine that the agent runs, through its evaluation. Thresholds are never chosen on the series
that they are applied to: for NAB on one random half of the series and applied to the other, both ways, pooled, and that
for N splits, of which the mean is shown; for mscloud likewise per budget of false alerts. `same` are thresholds chosen
on all series at hand, as the scorers do by themselves. Intervals are bootstraps over series, thresholds chosen anew.
Needs pandas, which the scorers read with.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.report import Table
from plugins.anomaly.engine.evaluate import read_series, scores_of
from plugins.anomaly.engine.table import Array
from plugins.anomaly.engine.zscore import ZScore

SHARED = Path(__file__).resolve().parents[3] / "shared"
CONFIGURATIONS_TRIED = 340  # see docs/evaluation-anomaly.md, which says of what
PROFILES = ("standard", "low_fp")
BUDGETS = (0.05, 0.20)
Series = tuple[Array, Array]
Scores = dict[str, Array]


def detectors() -> dict[str, Callable[[Sequence[Series]], list[Array]]]:
    """By name, each from all series to their scores."""
    return {
        "ours": scores_of,
        "zscore (the plugin's)": lambda series: scores_of(series, ZScore()),
        "rolling z": lambda series: [rolling_z(*one) for one in series],
        "random": lambda series: [np.random.default_rng(n).random(len(one[0])) for n, one in enumerate(series)],
        "null": lambda series: [np.zeros(len(times)) for times, _ in series],
    }


def rolling_z(times: Array, values: Array) -> Array:
    """|value − mean| / standard deviation of the day before (at least 30 rows), as z / (1 + z)."""
    import pandas as pd

    window = max(30, int(86400 / max(float(np.median(np.diff(times))), 1.0)))
    before = pd.Series(values).rolling(window, min_periods=30)
    mean, deviation = before.mean().shift(1), before.std().shift(1)
    z = ((pd.Series(values) - mean).abs() / (deviation + 1e-9 * (1 + mean.abs()))).fillna(0.0).clip(0, 1e9).to_numpy()
    scores: Array = z / (1 + z)
    return scores


@dataclass(frozen=True)
class Tool:
    """The scorers, as they are in the tools beside the data."""

    nab: ModuleType
    mscloud: ModuleType


def load_tools(folder: Path) -> Tool:
    """Imports the scorers from their files."""
    modules = []
    for name in ("nab_score", "mscloud_score"):
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        if spec is None or spec.loader is None or not (folder / f"{name}.py").exists():
            raise SystemExit(f"{folder}/{name}.py is missing: give the folder of the shared data with --shared")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        modules.append(module)
    return Tool(*modules)


class Nab:
    """The benchmark's series with their windows."""

    def __init__(self, tool: Tool, data: Path) -> None:
        self._tool = tool.nab
        self.series: dict[str, Any] = tool.nab.load(data)
        self.names = list(self.series)

    def _parts(self, names: Sequence[str], scores: Scores, threshold: float, profile: str) -> Array:
        """(points, points of a perfect detector, points of none), summed over the names."""
        hit, false, missed = self._tool.COSTS[profile]
        total = np.zeros(3)
        for name in names:
            one = self.series[name]
            found = scores[name] >= threshold
            found[: one.probation] = False
            total[0] += one.reward[found & (one.window < 0)].sum() * false
            for number in range(one.windows):
                rows = one.window == number
                rows[: one.probation] = False
                total[1] += hit
                if rows.any():
                    total[2] -= missed
                    total[0] += one.reward[found & rows].max() * hit if (found & rows).any() else -missed
        return total

    def _best(self, names: Sequence[str], scores: Scores, profile: str) -> float:
        found: float = self._tool.best_threshold(
            {n: self.series[n] for n in names}, {n: scores[n] for n in names}, profile
        )
        return found

    @staticmethod
    def _percent(parts: Array) -> float:
        return float(100 * (parts[0] - parts[2]) / (parts[1] - parts[2]))

    def across(self, scores: Scores, profile: str, random: np.random.Generator, resample: bool = False) -> float:
        """One split in halves, each with the other's threshold; `resample`: of series drawn anew, for a bootstrap."""
        names = [self.names[n] for n in random.permutation(len(self.names))]
        middle = len(names) // 2
        one, other = names[:middle], names[middle:]
        if resample:
            one, other = ([half[n] for n in random.integers(0, len(half), len(half))] for half in (one, other))
        parts = np.zeros(3)
        for train, test in ((one, other), (other, one)):
            parts += self._parts(test, scores, self._best(train, scores, profile), profile)
        return self._percent(parts)

    def same(self, names: Sequence[str], scores: Scores, profile: str) -> float:
        """With the best threshold of these series."""
        return self._percent(self._parts(names, scores, self._best(names, scores, profile), profile))


class MsCloud:
    """The cloud metrics with their labelled events; what counts as an alert is the scorer's own."""

    def __init__(self, tool: Tool, data: Path, series: dict[str, Series]) -> None:
        self._tool, self._series, self.names = tool.mscloud, series, list(series)
        self._labels = {name: _labels(data / name) for name in series}
        self._evidence: dict[str, tuple[Array, Array, float]] = {}

    def use(self, scores: Scores) -> None:
        """Takes a detector's scores: of each series the alerts far from events, the best of each event, metric-days."""
        import pandas as pd

        for name, (times, _) in self._series.items():
            rows, per_hour = len(times), 3600 / max(1.0, float(np.median(np.diff(times))))
            alert = self._tool.onsets(pd.Series(scores[name]), max(3, int(per_hour)))
            warm, near = int(self._tool.WARM_UP * rows), max(3, int(per_hour / 4))
            alone, events = np.arange(rows) >= warm, []
            for first, end in self._tool.runs(self._labels[name]):
                begin, stop = max(first - near, warm), min(end + near, rows)
                alone[begin:stop] = False
                if first >= warm:
                    events.append(alert[begin:stop].max())
            self._evidence[name] = (alert[alone], np.array(events, float), (times[-1] - times[warm]) / 86400)

    def threshold(self, names: Sequence[str], budget: float) -> float:
        """Just above the highest outside score that the budget does not allow, as the scorer does."""
        outside = np.sort(np.concatenate([self._evidence[name][0] for name in names]))[::-1]
        days = sum(self._evidence[name][2] for name in names)
        return float(np.nextafter(outside[min(int(budget * days), len(outside) - 1)], np.inf))

    def caught(self, names: Sequence[str], threshold: float) -> tuple[int, int, int, float]:
        """Events caught, events, false alerts, metric-days."""
        events = np.concatenate([self._evidence[name][1] for name in names])
        false = sum(int((self._evidence[name][0] >= threshold).sum()) for name in names)
        return int((events >= threshold).sum()), len(events), false, sum(self._evidence[name][2] for name in names)

    def same(self, names: Sequence[str], budget: float) -> float:
        """Recall with the threshold of these series."""
        caught, events, _, _ = self.caught(names, self.threshold(names, budget))
        return caught / max(events, 1)

    def across(self, budget: float, random: np.random.Generator) -> tuple[float, float]:
        """Recall and false alerts per metric-day, each half with the other's threshold."""
        names = [self.names[n] for n in random.permutation(len(self.names))]
        middle = len(names) // 2
        one, other = names[:middle], names[middle:]
        total = np.zeros(4)
        for train, test in ((one, other), (other, one)):
            total += self.caught(test, self.threshold(train, budget))
        return float(total[0] / total[1]), float(total[2] / total[3])


def _labels(path: Path) -> Array:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return np.array([float(row["label"] or 0) != 0 for row in csv.DictReader(file)])


def interval(of: Callable[[Sequence[str]], float], names: Sequence[str], draws: int) -> str:
    """A 90 % bootstrap interval over series."""
    random = np.random.default_rng(7)
    # A series drawn twice counts twice, under the same name.
    found = [of([names[n] for n in random.integers(0, len(names), len(names))]) for _ in range(draws)]
    low, high = np.quantile(found, [0.05, 0.95])
    return f"{low:.3g}–{high:.3g}"


def row(name: str, nab: Nab, nab_scores: Scores, cloud: MsCloud, cloud_scores: Scores, splits: int) -> dict[str, str]:
    """One detector's line of the table."""
    line = {"detector": name}
    for profile in PROFILES:
        random = np.random.default_rng(1)
        across = [nab.across(nab_scores, profile, random) for _ in range(splits)]
        line[f"NAB {profile}"] = f"{np.mean(across):.1f}"
        line[f"{profile}, same"] = f"{nab.same(nab.names, nab_scores, profile):.1f}"
    resampled = [
        nab.across(nab_scores, "standard", np.random.default_rng(seed), resample=True) for seed in range(splits)
    ]
    line["NAB standard, 90 %"] = "{:.0f}–{:.0f}".format(*np.quantile(resampled, [0.05, 0.95]))
    cloud.use(cloud_scores)
    for budget in BUDGETS:
        random = np.random.default_rng(3)
        pairs = np.array([cloud.across(budget, random) for _ in range(splits)])
        line[f"mscloud {budget:.2f}"] = f"{cloud.same(cloud.names, budget):.3f}"
        line[f"{budget:.2f}, 90 %"] = interval(lambda names, b=budget: cloud.same(names, b), cloud.names, 10 * splits)  # type: ignore[misc]
        line[f"{budget:.2f}, other half"] = f"{pairs[:, 0].mean():.3f} at {pairs[:, 1].mean():.3f}"
    return line


def main() -> int:
    """Prints the table; 0 when it could be made."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation.anomaly", description=__doc__)
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with data/anomaly and tools")
    parser.add_argument("--splits", type=int, default=20, help="random splits in halves (20)")
    options = parser.parse_args()
    tool, data = load_tools(options.shared / "tools"), options.shared / "data" / "anomaly"
    nab = Nab(tool, data / "nab")
    nab_series = {name: read_series(data / "nab" / f"{name}.gz") for name in nab.names}
    cloud_paths = sorted((data / "mscloud").glob("**/*.csv.gz"))
    cloud_series = {str(path.relative_to(data / "mscloud")): read_series(path) for path in cloud_paths}
    cloud = MsCloud(tool, data / "mscloud", cloud_series)
    lines = []
    for name, detect in detectors().items():
        nab_scores = dict(zip(nab_series, detect(list(nab_series.values())), strict=True))
        cloud_scores = dict(zip(cloud_series, detect(list(cloud_series.values())), strict=True))
        lines.append(row(name, nab, nab_scores, cloud, cloud_scores, options.splits))
    table = Table("", list(lines[0]), [list(line.values()) for line in lines])
    print("\n".join(table.lines()))
    print(f"About {CONFIGURATIONS_TRIED} configurations were tried on these series before.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
