"""What a plugin ships for a vendor, where the plugin has a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.dashboards.model import Asset, VendorError
from agent.errors import PredisError
from agent.plugin.guard import Told
from agent.plugin.wire_offers import dump_asset

DEADLINE = 300.0  # seconds of one call, which may be several requests to the vendor

Call = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Sequence[Asset]]]


class RemoteDashboards:
    """A Dashboards: the plugin's own lives in a process, which `end` ends.

    `call` asks that process, and gives the answer and the assets that came before it; it raises Told. The constructor
    raises what predis_dashboards does.
    """

    def __init__(self, call: Call, end: Callable[[], None], url: str) -> None:
        self._call, self._end = call, end
        try:
            answer, _ = self._ask({"call": "dashboards", "url": url})
            self.vendor, self.where = str(answer.get("vendor")), str(answer.get("where"))
        except BaseException:
            end()
            raise

    def assets(self) -> Sequence[Asset]:
        """Asked each time, as the plugin's own is."""
        return self._ask({"call": "assets"})[1]

    def find(self, asset: Asset) -> str | None:
        """Raises VendorError, also when the process ends."""
        found = self._ask({"call": "find", "asset": dump_asset(asset)})[0].get("found")
        return None if found is None else str(found)

    def put(self, asset: Asset, found: str | None) -> str:
        """Raises VendorError, also when the process ends."""
        return str(self._ask({"call": "put", "asset": dump_asset(asset), "found": found})[0].get("place"))

    def close(self) -> None:
        """Ends the process, too."""
        try:
            self._ask({"call": "shut"})
        except (VendorError, PredisError):
            pass  # it is to end either way
        finally:
            self._end()

    def _ask(self, request: Mapping[str, Any]) -> tuple[Mapping[str, Any], Sequence[Asset]]:
        try:
            answer, assets = self._call(request)
        except Told as told:
            raise VendorError(str(told)) from None
        if "refused" in answer:
            raise (VendorError if answer.get("vendor") else PredisError)(str(answer["refused"]))
        return answer, assets
