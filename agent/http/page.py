"""The status document as a page for people: one table for the plugins, one for the exporters, and what is wrong first.

It is plain HTML that reloads itself every few seconds: nothing is loaded from elsewhere, and it works without scripts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from agent.config.units import format_count, format_duration, format_size

REFRESH = 5  # seconds
_STYLE = """
:root{color-scheme:light dark;--bad:#c0392b;--warn:#b7791f;--good:#2f855a;--line:#8884}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}
.state{font-weight:600}.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .7rem .3rem 0;vertical-align:top}
th{font-weight:500;opacity:.7;border-bottom:1px solid var(--line)}td{border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.remark{opacity:.75;font-size:.9em}
ul{margin:.4rem 0;padding-left:1.2rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.4rem 0}
dt{opacity:.7}dd{margin:0}.scroll{overflow-x:auto}
"""
_PLUGINS = ("plugin", "state", "last success", "#runs", "#failures", "#series", "#dropped")
_EXPORTERS = (
    *("exporter", "circuit", "last delivery", "#lag"),
    *("#produced", "#delivered", "#queued", "#spooled", "spool", "#dropped"),
)
_RULES = ("rule", "state", "last result", "why")
_INCIDENTS = ("incident", "severity", "since", "#series", "what it is")
_GOOD = {"active", "running", "closed", "ready"}
_WARN = {"warning", "backing off", "starting", "half-open", "disabled"}


def status_page(status: Mapping[str, Any]) -> str:
    """The document of /api/v1/status as HTML."""
    agent, cache, health = (status.get(name) or {} for name in ("agent", "cache", "health"))
    plugins: Sequence[Mapping[str, Any]] = status.get("plugins") or ()
    exporters = [plugin for plugin in plugins if plugin.get("export")]
    ready = "ready" if health.get("ready") else "not ready"
    parts = [
        f"<h1>Predis agent: {state(ready)}</h1>",
        _list(health.get("reasons") or ()),
        "<h2>Agent</h2>",
        pairs_list(
            [
                (
                    "process",
                    f"version {agent.get('version')}, pid {agent.get('pid')}, up {_ago(agent, 'uptime_seconds')}",
                ),
                ("configuration", agent.get("config_file") or "built-in defaults"),
                ("last reload", (agent.get("config_reload") or {}).get("error") or "in force"),
                ("data", agent.get("data_dir")),
            ]
        ),
        "<h2>Cache</h2>",
        pairs_list(_cache(cache)),
        "<h2>Plugins</h2>",
        table(_PLUGINS, map(_plugin, plugins)),
    ]
    if under_way := (status.get("rules") or {}).get("under_way") or ():
        parts[2:2] = ["<h2>Rules at work</h2>", table(_RULES, map(_rule, under_way))]
    incidents = (status.get("incidents") or {}).get("open") or ()
    if incidents:
        parts[2:2] = ["<h2>Open incidents</h2>", table(_INCIDENTS, map(_incident, incidents))]
    if exporters:
        parts += ["<h2>Exporters</h2>", table(_EXPORTERS, map(_exporter, exporters))]
    footer = f'As JSON: <a href="/api/v1/status">/api/v1/status</a>. Reloaded every {REFRESH} s.'
    return document(f"Predis agent: {ready}", parts, footer, refresh=REFRESH)


def document(title: str, parts: Iterable[str], footer: str, refresh: int | None = None) -> str:
    """A whole page of these parts, which are HTML, as is the footer; reloaded every `refresh` seconds."""
    body = "\n".join(parts)
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh}">'
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{again}'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n"
        f'<p class="remark">{footer}</p>\n</body></html>\n'
    )


def _cache(cache: Mapping[str, Any]) -> list[tuple[str, object]]:
    memory, upgrades = cache.get("memory"), cache.get("upgrades") or 0
    return [
        ("state", Html(state(str(cache.get("state", "unknown"))))),
        *([("error", cache["error"])] if cache.get("error") else []),
        (
            "process",
            f"pid {cache.get('pid')}, {format_count(cache.get('restarts') or 0, 'restart')},"
            f" {format_count(upgrades, 'upgrade')}",
        ),
        ("address", f"port {cache.get('port') or 'none'}, {cache.get('unix_socket')}"),
        ("memory", f"{format_size(memory) if isinstance(memory, int) else '?'}, {cache.get('policy')}"),
    ]


def _plugin(plugin: Mapping[str, Any]) -> list[str]:
    dropped = plugin.get("dropped") or {}
    offenders = plugin.get("offenders") or ()
    remarks = [plugin.get("error"), plugin.get("note")]
    remarks += [f"dropped most: {metric}, {count:,} samples ({reason})" for metric, reason, count in offenders[:1]]
    return [
        _named(plugin, remarks),
        state(str(plugin.get("state"))),
        _ago(plugin, "last_success_seconds_ago", " ago"),
        *(_number(plugin.get(key)) for key in ("runs", "failures", "series")),
        _number(sum(dropped.values())),
    ]


def _incident(incident: Mapping[str, Any]) -> list[str]:
    identifier = escape(str(incident.get("id")))
    why = [str(incident["why"])] if incident.get("why") else []
    return [
        f'<a href="/incidents/{identifier}">{identifier}</a>',
        state(str(incident.get("severity"))),
        escape(time.strftime("%H:%M:%S UTC", time.gmtime(incident.get("opened") or 0))),
        _number(incident.get("series")),
        _named({"name": incident.get("title")}, why),
    ]


def _rule(rule: Mapping[str, Any]) -> list[str]:
    at = rule.get("last_result_at")
    when = [time.strftime("%H:%M:%S UTC", time.gmtime(at))] if isinstance(at, (int, float)) else []
    return [
        _named({"name": rule.get("rule")}, [rule.get("subject"), *(rule.get("plan") or ())]),
        escape(str(rule.get("state"))),
        _named({"name": rule.get("last_result") or "–"}, when),
        _named({"name": rule.get("why")}, [rule.get("reason")]),
    ]


def _exporter(plugin: Mapping[str, Any]) -> list[str]:
    export = plugin["export"]
    dropped = export.get("dropped") or {}
    remarks = [f"{reason}: {count:,} dropped" for reason, count in dropped.items() if count]
    if export.get("possible_duplicates"):
        remarks.append(f"{export['possible_duplicates']:,} possibly sent twice")
    if (export.get("bill") or {}).get("dollars_a_month") is not None:
        remarks.append(f"about {export['bill']['dollars_a_month']:,.2f} USD a month by list prices")
    size = export.get("spool_bytes") or 0
    age = f", {_ago(export, 'spool_age_seconds')} old" if export.get("spool_age_seconds") else ""
    return [
        _named(plugin, [export.get("last_error"), *remarks]),
        state(str(export.get("circuit"))),
        _ago(plugin, "last_success_seconds_ago", " ago") if export.get("delivered") else "never",
        _ago(export, "lag_seconds"),
        *(_number(export.get(key)) for key in ("produced", "delivered", "queued", "spooled")),
        escape(format_size(size) + age),
        _number(sum(dropped.values())),
    ]


def _named(plugin: Mapping[str, Any], remarks: Iterable[object]) -> str:
    lines = [f'<div class="remark">{escape(str(remark))}</div>' for remark in remarks if remark]
    return escape(str(plugin.get("name"))) + "".join(lines)


class Html(str):
    """A text that is HTML already."""


def state(word: str) -> str:
    kind = "good" if word in _GOOD else "warn" if word in _WARN else "bad"
    return f'<span class="state {kind}">{escape(word)}</span>'


def _list(items: Iterable[object]) -> str:
    rows = "".join(f'<li class="bad">{escape(str(item))}</li>' for item in items)
    return f"<ul>{rows}</ul>" if rows else ""


def pairs_list(pairs: Iterable[tuple[str, object]]) -> str:
    rows = (
        f"<dt>{escape(name)}</dt><dd>{value if isinstance(value, Html) else escape(str(value))}</dd>"
        for name, value in pairs
    )
    return f"<dl>{''.join(rows)}</dl>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns whose head begins with # are numbers; cells are HTML."""
    kinds = [' class="n"' if name.startswith("#") else "" for name in head]
    top = "".join(f"<th{kind}>{escape(name.lstrip('#'))}</th>" for name, kind in zip(head, kinds, strict=True))
    lines = ("".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _ago(document: Mapping[str, Any], key: str, suffix: str = "") -> str:
    seconds = document.get(key)
    if not isinstance(seconds, (int, float)):
        return "never" if suffix else "–"
    return (format_duration(round(seconds)) if seconds >= 10 else f"{seconds:.1f}s") + suffix


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
