"""Installs the assets of plugins: finds out what is there already, so that nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.dashboards.model import Asset, Dashboards, VendorError
from agent.errors import PluginError, PredisError
from agent.plugin.guard import describe
from agent.plugin.manager import PluginManager

HOOK = "predis_dashboards"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done about an asset, or would be: `done` is "created", "updated" or "by hand"; `place`, where it is."""

    asset: Asset
    done: str
    place: str


def offered(manager: PluginManager, url: str = "") -> tuple[dict[str, Dashboards], list[PredisError]]:
    """What the active plugins ship, by vendor, and why some could not say. `url` replaces the configured address."""
    found: dict[str, Dashboards] = {}
    errors: list[PredisError] = []
    for plugin in manager.active:
        if plugin.implements(HOOK):
            try:
                dashboards = plugin.dashboards(url)
            except PredisError as error:
                errors.append(error)
            except VendorError as error:
                errors.append(PredisError(f"plugin {plugin.name}: {error}"))
            except Exception as error:  # noqa: BLE001  # a plugin's mistake is no end of the others
                errors.append(PluginError(plugin.name, f"{HOOK} failed: {describe(error)}"))
            else:
                found[dashboards.vendor] = dashboards
    return found, errors


def choose(manager: PluginManager, vendor: str, url: str = "") -> Dashboards:
    """What is shipped for a vendor. Raises PredisError with what there is instead."""
    found, errors = offered(manager, url)
    for name, dashboards in found.items():
        if name != vendor:
            dashboards.close()
    if vendor in found:
        return found[vendor]
    if errors and any(plugin.name == vendor for plugin in manager.active):
        raise PredisError("\n".join(map(str, errors)))
    told = [f"there are no dashboards for {vendor!r}: enabled plugins have some for {', '.join(found) or 'nobody'}"]
    off = [plugin.name for plugin in manager.plugins.values() if plugin.state == "disabled"]
    if vendor in off:
        told.append(f"plugins.{vendor}.enabled is false: set it to true")
    elif off:
        told.append(f"disabled are {', '.join(off)}")
    raise PredisError("\n".join([*map(str, errors), "; ".join(told)]))


def install(dashboards: Dashboards, *, dry_run: bool) -> Iterator[Outcome]:
    """Makes or replaces each asset, and says so after each; with `dry_run` it only looks. Raises PredisError."""
    for asset in dashboards.assets():
        if asset.by_hand:
            yield Outcome(asset, "by hand", asset.by_hand)
            continue
        try:
            found = dashboards.find(asset)
            place = (found or "") if dry_run else dashboards.put(asset, found)
        except VendorError as error:
            raise PredisError(f"{dashboards.vendor}, {asset.kind} {asset.title!r}: {error}") from None
        yield Outcome(asset, "created" if found is None else "updated", place)
