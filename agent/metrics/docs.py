"""Writes the list of all metrics from the catalogue.

    python -m agent.metrics.docs > docs/metrics.md        the whole page
    python -m agent.metrics.docs cache_metrics            the table of one plugin, for its README

A test fails while the page or a table is not what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points

from agent.errors import PluginError
from agent.metrics.model import MetricSpec
from agent.own_specs import SPECS
from agent.plugin.markers import ENTRY_POINT_GROUP

DISTRIBUTION = "predis-agent"

HEAD = """# Metrics

Every metric that the agent and the shipped plugins emit. Generated from the catalogue by
`python -m agent.metrics.docs > docs/metrics.md`; do not edit. `predis-agent metrics list` shows the ones that a
running configuration has.

Names follow [Prometheus' conventions](https://prometheus.io/docs/practices/naming/): base units, `_total` for counters.
A histogram is exported as `NAME_bucket{le="…"}`, `NAME_sum` and `NAME_count`, or as the native histogram `NAME`.
"""


def shipped_entry_points() -> list[EntryPoint]:
    """The plugins of this distribution, by name; plugins of others have their own documentation."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return sorted(
        (point for point in found if point.dist is None or point.dist.name == DISTRIBUTION),
        key=lambda point: point.name,
    )


def specs_of(point: EntryPoint) -> Sequence[MetricSpec]:
    """What a plugin declares under its default configuration. Imports it, but starts nothing."""
    plugin = point.load()
    if not hasattr(plugin, "predis_metric_specs"):
        return ()
    return tuple(plugin(plugin.Config()).predis_metric_specs())


def table(specs: Iterable[MetricSpec]) -> str:
    """A Markdown table of metrics, by name; nothing for none."""
    specs = list(specs)
    if not specs:
        return ""
    rows = ["| metric | kind | labels | what it is |", "| --- | --- | --- | --- |"]
    for spec in sorted(specs, key=lambda spec: spec.name):
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        rows.append(f"| `{spec.name}` | {spec.kind.value} | {labels} | {spec.help.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """The whole of docs/metrics.md."""
    parts = [HEAD, f"## The agent\n\n{table(SPECS)}"]
    parts += [
        f"## [{point.name}](../plugins/{point.name}/README.md)\n\n{table(specs)}"
        for point in shipped_entry_points()
        if (specs := specs_of(point))
    ]
    return "\n".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Print the page, or the tables of the plugins that are named."""
    text = page()
    if arguments:
        points = {point.name: point for point in shipped_entry_points()}
        unknown = [name for name in arguments if name not in points]
        if unknown:
            raise PluginError(unknown[0], "there is no shipped plugin of this name", f"one of {', '.join(points)}")
        text = "\n".join(table(specs_of(points[name])) for name in arguments)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
