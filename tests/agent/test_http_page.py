"""The status page: what is wrong stands first, everything is escaped, and nothing is loaded from elsewhere."""

import re
from html.parser import HTMLParser
from typing import Any

from agent.http.page import status_page

STATUS: dict[str, Any] = {
    "agent": {"version": "0.1.0", "pid": 17, "uptime_seconds": 65.0, "config_file": "/etc/predis/agent.toml",
              "config_reload": {"error": None}, "data_dir": "/var/lib/predis"},
    "cache": {"state": "running", "pid": 18, "port": 6379, "unix_socket": "/run/c.sock", "memory": 1 << 30,
              "policy": "s3fifo", "restarts": 2},
    "plugins": [
        {"name": "host_metrics", "state": "active", "last_success_seconds_ago": 2.0, "runs": 1234, "failures": 0,
         "series": 78, "dropped": {"plugin_series": 12}, "offenders": [["predis_x", "plugin_series", 12]]},
        {"name": "datadog", "state": "backing off", "last_success_seconds_ago": 3.5, "runs": 9, "failures": 3,
         "series": 0, "dropped": {}, "error": "<script>alert(1)</script>",
         "export": {"produced": 5000, "delivered": 4000, "queued": 100, "spooled": 890, "dropped": {"too_old": 10},
                    "spool_bytes": 2 << 20, "spool_age_seconds": 125.0, "circuit": "open", "lag_seconds": 125.0,
                    "bill": {"dollars_a_month": 1234.5, "series": 9, "charges": []}}},
    ],
    "health": {"live": True, "ready": False, "reasons": ["exporter datadog has delivered nothing for 125 s"]},
}  # fmt: skip


class Text(HTMLParser):
    """A page's text and tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_what_is_wrong_stands_before_everything_else() -> None:
    text = " ".join(Text(status_page(STATUS)).words)
    assert "Predis agent: not ready" in re.sub(r"\s+", " ", text)
    assert text.index("has delivered nothing for 125 s") < text.index("version")


def test_the_numbers_of_plugins_and_exporters_are_there() -> None:
    words = Text(status_page(STATUS)).words
    for word in ("1,234", "78", "12", "2.0s ago", "dropped most: predis_x, 12 samples (plugin_series)"):
        assert word in words
    for word in ("open", "5,000", "4,000", "100", "890", "2MiB, 2m5s old", "too_old: 10 dropped"):
        assert word in words
    assert "about 1,234.50 USD a month by list prices" in words


def test_each_table_has_a_heading_the_agents_own_too() -> None:
    page = status_page(STATUS)
    assert re.findall("<h2>(.*?)</h2>", page) == ["Agent", "Cache", "Plugins", "Exporters"]
    assert page.index("<h2>Agent</h2>") < page.index("version 0.1.0") < page.index("<h2>Cache</h2>")


def test_one_restart_is_no_restarts() -> None:
    cache = {**STATUS["cache"], "restarts": 1, "upgrades": 1200}
    assert "pid 18, 1 restart, 1,200 upgrades" in Text(status_page({**STATUS, "cache": cache})).words


def test_what_rules_do_is_there() -> None:
    rule = {"rule": "tenant-floods", "subject": "tenant:shop", "state": "resting", "why": "12 > <5>", "reason": "",
            "plan": ["would limit it"], "last_result": "verified", "last_result_at": 1700000000.0}  # fmt: skip
    page = status_page({**STATUS, "rules": {"under_way": [rule, {"rule": "young", "state": "pending", "why": "x"}]}})
    words = Text(page).words
    for word in ("tenant-floods", "tenant:shop", "would limit it", "resting", "verified", "22:13:20 UTC", "12 > <5>"):
        assert word in words
    assert words.index("Rules at work") < words.index("Cache")
    assert "Rules at work" not in Text(status_page(STATUS)).words


def test_what_plugins_say_is_text_and_nothing_comes_from_elsewhere() -> None:
    page = Text(status_page(STATUS))
    assert "<script>alert(1)</script>" in page.words
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link", "iframe"})
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == ["/api/v1/status"]


def test_a_status_with_nothing_in_it_is_a_page_too() -> None:
    assert "not ready" in " ".join(Text(status_page({})).words)
    without = {**STATUS, "plugins": [plugin for plugin in STATUS["plugins"] if "export" not in plugin]}
    assert "Exporters" not in Text(status_page(without)).words
