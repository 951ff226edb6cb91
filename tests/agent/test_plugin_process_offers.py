"""`isolation = "process"`: bills and dashboards of such a plugin are its own, made in a process that ends with them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.dashboards.install import choose, install, offered
from agent.dashboards.model import Asset, VendorError
from agent.errors import PredisError
from agent.export.cost import Estimate, bill_of
from agent.metrics.bill import Charge
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, Snapshot
from agent.plugin import wire, wire_offers
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.manager import PluginManager
from tests.agent.foreign import Foreign, foreign
from tests.agent.test_plugin_process import gone, host, manager, pid_of
from tests.waiting import wait_until

__all__ = ["foreign"]

SHOP = """
    import os
    from pathlib import Path

    from agent.api import Asset, Charge, PredisError, VendorError, hookimpl

    HERE = Path(__file__).parent

    class Boards:
        vendor = "shop"

        def __init__(self, url):
            self.where = url or "nowhere"
            self.found = {}

        def assets(self):
            (HERE / "pid").write_text(str(os.getpid()))
            yield Asset("dashboard", "one", "One", HERE / "one.json", {"panels": [1, {"a": None}]})
            yield Asset("rules", "two", "Two", HERE / "two.yml", by_hand="copy it")

        def find(self, asset):
            return self.found.get(asset.key)

        def put(self, asset, found):
            if self.where == "crash":
                os._exit(3)
            if self.where == "refuse":
                raise VendorError("the shop is closed")
            if self.where == "fail":
                raise OSError("no till")
            self.found[asset.key] = f"{asset.key}-{asset.body['panels'][1]['a']}"
            return f"{self.where}/{asset.file.name}"

        def close(self):
            (HERE / "closed").touch()

    class Plugin:
        api_version = 1

        def __init__(self, config):
            pass

        @hookimpl
        def predis_dashboards(self, url):
            if url == "wrong":
                raise PredisError("ca_file is missing: name one")
            if url == "broken":
                raise ZeroDivisionError("oh")
            return Boards(url)

        @hookimpl
        def predis_bill(self, snapshot, interval):
            if interval == 13:
                raise ZeroDivisionError("prices are gone")
            kinds = sorted(spec.kind.value for spec, _ in snapshot.families())
            yield Charge(",".join(kinds), len(snapshot.samples), "series", None, f"{os.getpid()}", f"{interval}")
            yield Charge("histograms", sum(s.value.count for s in snapshot.samples.values() if s.name.endswith("s")),
                         "observations", 0.5, "", "")
"""
SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("predis_a", Kind.gauge, "A.", labels=("x",)),
        MetricSpec("predis_b_seconds", Kind.histogram, "B.", "seconds"),
    )
}


def snapshot(series: int) -> Snapshot:
    samples = [Sample("predis_a", 1.0, (str(number),)) for number in range(series)]
    samples.append(Sample("predis_b_seconds", Histogram((1.0,), (2, 3), 4.0)))
    return Snapshot(5.0, {sample.key: sample for sample in samples}, SPECS)


@pytest.fixture
def plugins(foreign: Foreign, tmp_path: Path) -> Iterator[PluginManager]:
    foreign.package("weather", SHOP)
    made = manager(tmp_path, '[plugins.weather]\nisolation = "process"\n')
    assert isinstance(made.plugins["weather"], IsolatedPlugin)
    yield made
    made.plugins["weather"].abandon()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "site-packages"


def test_what_it_ships_is_installed_from_its_process_which_ends_then(plugins: PluginManager, here: Path) -> None:
    # given its assets
    found, errors = offered(plugins, "https://shop")
    assert errors == []
    shop = found["shop"]
    assert (shop.vendor, shop.where) == ("shop", "https://shop")
    assert list(shop.assets()) == [
        Asset("dashboard", "one", "One", here / "one.json", {"panels": [1, {"a": None}]}),
        Asset("rules", "two", "Two", here / "two.yml", by_hand="copy it"),
    ]
    pid = int((here / "pid").read_text())
    assert pid != os.getpid()
    # when they are installed, twice
    first, second = ([(o.done, o.place) for o in install(shop, dry_run=False)] for _ in range(2))
    # then what it made is found the second time
    assert first == [("created", "https://shop/one.json"), ("by hand", "copy it")]
    assert second == [("updated", "https://shop/one.json"), ("by hand", "copy it")]
    assert not gone(pid)
    shop.close()
    assert (here / "closed").exists()
    wait_until(lambda: gone(pid), what="the end of its process")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("refuse", "shop, dashboard 'One': the shop is closed"),
        ("fail", "shop, dashboard 'One': OSError: no till"),
        ("crash", "shop, dashboard 'One': its process was ended in put: it ended by itself with status 3"),
    ],
)
def test_what_goes_wrong_at_the_vendor_is_told_as_if_it_had_no_process(
    plugins: PluginManager, url: str, told: str
) -> None:
    shop = choose(plugins, "shop", url)
    with pytest.raises(PredisError) as raised:
        list(install(shop, dry_run=False))
    assert str(raised.value) == told
    shop.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [("wrong", "ca_file is missing: name one"), ("broken", "plugin weather: ZeroDivisionError: oh")],
)
def test_dashboards_that_it_does_not_give_leave_no_process(plugins: PluginManager, url: str, told: str) -> None:
    before = children()
    found, errors = offered(plugins, url)
    for others in found.values():
        others.close()
    assert "shop" not in found
    assert [str(error) for error in errors] == [told]
    wait_until(lambda: children() <= before, what="the end of its process")


def test_a_bill_is_made_in_a_process_for_it_where_the_plugin_does_not_run(plugins: PluginManager) -> None:
    plugin, before = plugins.plugins["weather"], children()
    bill = bill_of(plugin, snapshot(3), 10.0)
    assert bill.charges is not None
    first, second = bill.charges
    assert first == Charge("gauge,histogram", 4, "series", None, first.formula, "10.0")
    assert second == Charge("histograms", 5, "observations", 0.5, "", "")
    assert int(first.formula) != os.getpid()
    assert bill.dollars is None
    wait_until(lambda: children() <= before, what="the end of its process")
    with pytest.raises(PredisError, match="predis_bill failed: ZeroDivisionError: prices are gone"):
        bill_of(plugin, snapshot(3), 13.0)


def test_a_bill_of_one_that_runs_is_made_in_its_process_also_of_other_series_and_after_its_end(
    plugins: PluginManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = plugins.plugins["weather"]
    assert isinstance(plugin, IsolatedPlugin)
    plugin.start(host(tmp_path))
    pid = pid_of(plugin)

    def told(series: int) -> tuple[float, int]:
        charges = plugin.bill(snapshot(series), 10.0)
        return charges[0].amount, int(charges[0].formula)

    assert [told(series) for series in (3, 3, 700, 1)] == [(4, pid), (4, pid), (701, pid), (2, pid)]
    assert plugin._child is not None
    plugin._child.kill("the test")
    assert told(5)[0] == 6
    assert pid_of(plugin) != pid
    # and while it is busy, nobody waits for an estimate
    estimate = Estimate(first=0.0)
    with plugin._lock:
        estimate.renew(plugin, snapshot(3), 10.0)
    assert estimate.status() is None
    assert "its process has been busy" in caplog.text


WRONG: list[tuple[Callable[[Any], Any], Any]] = [
    (wire_offers.load_charges, [["a", "many", "b", None, "", ""]]),
    (wire_offers.load_charges, [["a", float("nan"), "b", None, "", ""]]),
    (wire_offers.load_charges, [["a", 1, "b", True, "", ""]]),
    (wire_offers.load_charges, [["a", 1, 5, None, "", ""]]),
    (wire_offers.load_charges, [["a"]]),
    (wire_offers.load_charges, 5),
    (wire_offers.load_asset, {"kind": "a", "key": 5, "title": "b", "file": "c"}),
    (wire_offers.load_asset, {"kind": "a", "key": "5", "title": "b", "file": None}),
    (wire_offers.load_asset, {"kind": "a", "key": "5", "title": "b", "file": "c", "more": 1}),
    (wire_offers.load_asset, None),
]


@pytest.mark.parametrize(("load", "given"), WRONG)
def test_what_is_no_bill_and_no_asset_is_refused(load: Callable[[Any], Any], given: Any) -> None:
    with pytest.raises(wire.WireError):
        load(given)


def test_errors_of_the_vendor_stay_such(plugins: PluginManager) -> None:
    shop = plugins.plugins["weather"].dashboards("refuse")
    (asset, _) = shop.assets()
    with pytest.raises(VendorError, match=r"^the shop is closed$"):
        shop.put(asset, None)
    shop.close()


def children() -> set[int]:
    """The processes of plugins that this process has."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.add(int(entry.name))
    return found
