"""One incident as a page for people: what is off, since when, why probably, and a picture of each series."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from agent.config.units import format_duration, format_number, format_time
from agent.http.chart import chart
from agent.http.page import Html, document, pairs_list, state, table

MOST_PICTURES = 30
MOST_RECORDS = 50
SHORT_HASH = 12  # digits
_RECORDS = ("at (UTC)", "rule", "what", "action", "target", "what came of it", "#record", "hash")
REFRESH = 10  # seconds, while it lasts
_STYLE = """<style>
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:currentColor;opacity:.75}
.band{fill:#2f855a;opacity:.18}.grid{stroke:currentColor;opacity:.12}.onset{stroke:#c0392b;stroke-dasharray:4 3}
.line{fill:none;stroke:#2b6cb0;stroke-width:1.6}figure{margin:1rem 0}figcaption{font-size:.9em}
.causes{padding-left:1.2rem}.causes li{margin:.8rem 0;padding-left:.3rem}.causes p{margin:.15rem 0 .4rem}
.tag{border:1px solid var(--line);border-radius:.6rem;padding:0 .5rem;font-size:.85em;margin:0 .4rem}
.charts{display:flex;flex-wrap:wrap;gap:1.2rem}
.charts figure{margin:0;width:26rem;max-width:100%;overflow-wrap:anywhere}
</style>"""


def no_incident_page(identifier: str) -> str:
    """What there is to see where there is no such incident."""
    parts = [
        "<h1>There is no such incident</h1>",
        f"<p>None is called {escape(identifier)}. Of those that are over only the newest are kept.</p>",
        '<p><a href="/status">The status of the agent</a> lists those that last.</p>',
    ]
    return document(
        "No such incident", parts, 'All that are known, as JSON: <a href="/api/v1/incidents">/api/v1/incidents</a>.'
    )


def incident_page(incident: Mapping[str, Any]) -> str:
    """The document of /api/v1/incidents/ID as HTML."""
    closed = incident.get("closed")
    over = "over" if closed is not None else str(incident["severity"])
    seconds = (closed if closed is not None else time.time()) - incident["opened"]
    lasted = f"{format_time(incident['opened'])}, for {format_duration(max(0, round(seconds)))}"
    causes, anomalies = incident["causes"], incident["anomalies"]
    since = min((anomaly["since"] for anomaly in anomalies), default=incident["opened"])
    parts = [
        _STYLE,
        f"<h1>Incident {escape(incident['id'])}: {state(over)}</h1>",
        f"<p>{escape(incident['title'])}</p>",
        pairs_list(
            [
                ("since", lasted + ("" if closed is None else f", until {format_time(closed)}")),
                ("series", f"{incident['series']:,}"),
                ("components", incident["components"] or "–"),
                ("status", Html('<a href="/status">the whole agent</a>')),
            ]
        ),
        "<h2>Probable cause</h2>",
        _causes(causes, since) if causes else '<p class="remark">none is known yet</p>',
        *_remediation(incident.get("remediation") or ()),
        "<h2>What is off</h2>",
        f'<div class="charts">{"".join(map(_picture, anomalies[:MOST_PICTURES]))}</div>',
    ]
    if len(anomalies) > MOST_PICTURES:
        parts.append(f"<p>… and {len(anomalies) - MOST_PICTURES} more</p>")
    path = f"/api/v1/incidents/{escape(incident['id'])}"
    return document(
        f"Incident {incident['id']}",
        parts,
        f'As JSON: <a href="{path}">{path}</a>.',
        refresh=REFRESH if closed is None else None,
    )


def _causes(causes: Sequence[Mapping[str, Any]], since: float) -> str:
    return f'<ol class="causes">{"".join(_cause(cause, since) for cause in causes)}</ol>'


def _cause(cause: Mapping[str, Any], since: float) -> str:
    known = f'<span class="tag">{escape(cause["signature"])}</span>' if cause["signature"] else " "
    score = "" if cause["score"] is None else f'<span class="remark">score {cause["score"]:.3g}</span>'
    pictures = "".join(
        f"<figure><figcaption>{escape(one['series'])}{escape(_unit(one['unit']))}</figcaption>"
        f"{chart(one['history'], None, None, since, one['series'])}</figure>"
        for one in cause.get("evidence", ())
    )
    charts = f'<div class="charts">{pictures}</div>' if pictures else ""
    why = cause["why"].removeprefix(f"{cause['component']}: ")  # it stands above already
    return f"<li><b>{escape(cause['component'])}</b>{known}{score}<p>{escape(why)}</p>{charts}</li>"


def _remediation(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What rules did, as the audit log has it; nothing where they did nothing."""
    if not records:
        return []
    rules = dict.fromkeys(str(record["rule"]) for record in records if record["rule"])
    shown = " or ".join(f"<code>predis-agent audit show --rule {escape(rule)}</code>" for rule in rules)
    return [
        "<h2>What rules did</h2>",
        table(_RECORDS, map(_record, records[:MOST_RECORDS])),
        *([f"<p>… and {len(records) - MOST_RECORDS} more</p>"] if len(records) > MOST_RECORDS else []),
        '<p class="remark">These are records of the audit log, with the first digits of their hashes.'
        f" <code>predis-agent audit verify</code> checks that nobody changed it, {shown} has all of it.</p>",
    ]


def _record(record: Mapping[str, Any]) -> list[str]:
    subject = f" {record['subject']}" if record["subject"] else ""
    return [
        time.strftime("%H:%M:%S", time.gmtime(record["time"])),
        escape(f"{record['rule']}{subject}"),
        escape(str(record["what"])),
        escape(str(record["action"])),
        escape(str(record["target"])),
        escape(str(record["detail"])),
        f"{record['n']:,}",
        f"<code>{escape(str(record['hash'])[:SHORT_HASH])}</code>",
    ]


def _unit(unit: str) -> str:
    return f", {unit}" if unit else ""


def _picture(anomaly: Mapping[str, Any]) -> str:
    low, high = anomaly["low"], anomaly["high"]
    band = f"{_edge(low, '−∞')} to {_edge(high, '∞')}"
    text = (
        f"<b>{escape(anomaly['series'])}</b>{escape(_unit(anomaly['quantity']))}"
        f"<br>since {format_time(anomaly['since'])}: {_edge(anomaly['value'], '?')}, expected {band}"
        f'<br><span class="remark">{escape(anomaly["channel"])}, score {_edge(anomaly["score"], "?")}</span>'
    )
    svg = chart(anomaly["history"], low, high, anomaly["since"], anomaly["series"])
    return f"<figure><figcaption>{text}</figcaption>{svg}</figure>"


def _edge(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else escape(format_number(value))
