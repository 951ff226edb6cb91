"""A snapshot as the JSON of /api/v1/metrics, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, Snapshot


def metrics_document(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON has it. JSON has no NaN and no infinity: they are the strings Prometheus' API uses."""
    return {
        "time": snapshot.time,
        "metrics": [
            {
                "name": spec.name,
                "kind": spec.kind.value,
                "unit": spec.unit,
                "help": spec.help,
                "samples": [
                    {"labels": dict(zip(spec.labels, sample.labels, strict=True)), "value": _value(sample.value)}
                    for sample in samples
                ],
            }
            for spec, samples in snapshot.families()
        ],
    }


def _value(value: float | Histogram) -> Any:
    if isinstance(value, Histogram):
        return {
            "bounds": list(value.bounds),
            "counts": list(value.counts),
            "sum": _value(value.sum),
            "count": value.count,
        }
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def snapshot_of(document: Mapping[str, Any]) -> Snapshot:
    """The snapshot that a document of /api/v1/metrics shows. Raises ValueError or KeyError for anything else."""
    specs: dict[str, MetricSpec] = {}
    samples = {}
    for metric in document["metrics"]:
        names = tuple(metric["samples"][0]["labels"]) if metric["samples"] else ()
        specs[metric["name"]] = MetricSpec(metric["name"], Kind(metric["kind"]), metric["help"], metric["unit"], names)
        for sample in metric["samples"]:
            labels = tuple(sample["labels"][name] for name in names)
            read = Sample(metric["name"], _read(sample["value"]), labels)
            samples[read.key] = read
    return Snapshot(document["time"], samples, specs)


def _read(value: Any) -> float | Histogram:
    if isinstance(value, dict):
        return Histogram(tuple(value["bounds"]), tuple(value["counts"]), float(value["sum"]))
    return float(value)
