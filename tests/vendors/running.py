"""Starts fake vendors and speaks to them: `with start_vendor("datadog", folder) as vendor: ... vendor.violations()`."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.certificates import Authority
from tests.servers import ROOT
from tests.vendors.book import Point
from tests.vendors.faults import Step

KEYS = {
    "datadog": "0123456789abcdef0123456789abcdef",
    "grafana": "glsa_0123456789abcdef0123456789abcdef_01234567",
    "newrelic": "0123456789abcdef0123456789abcdef0123NRAL",
}
"""The keys that the fakes take unless a test says otherwise; as long as the vendors' are."""


class Vendor:
    """A running fake and what it saw."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, control: int, ca: Path | None) -> None:
        self.name, self.process, self.port, self.ca_file = name, process, port, ca
        self.api_key = KEYS.get(name, "")
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
        self.nowhere = f"{'https' if ca else 'http'}://{name}.invalid:{port}"
        """A URL whose host no DNS knows (RFC 6761)."""
        self._control = f"http://127.0.0.1:{control}/_control/"

    def state(self) -> dict[str, Any]:
        """Numbers since the last reset; see `tests.vendors.book.Book.state`."""
        return dict(self._ask("state"))

    def received(self, lane: str = "", name: str = "") -> list[Point]:
        """The points that were taken, in order of arrival; of a lane and of a name where given."""
        found = self._ask(f"received?lane={lane}&name={name}")
        return [Point(**{**point, "tags": tuple(map(tuple, point["tags"]))}) for point in found]

    def violations(self, *, altered: bool = False) -> list[dict[str, Any]]:
        """The rules that were broken. With `altered`, also what the vendor takes but changes or drops a part of."""
        return [found for found in self._ask("violations") if altered or found["refused"]]

    def requests(self) -> list[dict[str, Any]]:
        """The log of requests; see `tests.vendors.book.Entry`."""
        return list(self._ask("requests"))

    def assets(self) -> dict[str, Any]:
        """Dashboards, monitors and alarms that were installed, by kind."""
        return dict(self._ask("assets"))

    def script(self, steps: Sequence[Step]) -> None:
        """The faults that the coming requests meet. What hangs or is slow at this moment ends."""
        self._ask("script", {"steps": [step.as_json() for step in steps]})

    def outage(self) -> None:
        """From now on connections are refused, and those that are open are reset."""
        self._ask("outage", {})

    def stall(self) -> None:
        """From now on connections are accepted and nothing is said on them, not even TLS; those open are reset."""
        self._ask("stall", {})

    def back(self) -> None:
        """The outage or the silence is over: the same port serves again."""
        self._ask("back", {})

    def clock(self, offset: float = 0.0, speed: float = 1.0) -> None:
        """The fake's time: the machine's, moved by `offset` seconds, and from now on `speed` times as fast."""
        self._ask("clock", {"offset": offset, "speed": speed})

    def certificate(self, which: str) -> None:
        """Present the certificate "right", "wrong" (of another CA) or "expired"; open connections are cut."""
        self._ask("certificate", {"which": which})

    def reset(self) -> None:
        """Forget script and records."""
        self._ask("reset", {})

    def stop(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _ask(self, what: str, value: object = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self._control + what, data), timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"the fake of {self.name} on {what}:\n{json.load(error)}") from None


def start_vendor(
    name: str, folder: Path, *, tls: bool = False, api_key: str | None = None, port: int = 0, keep: int = 1_000_000
) -> Vendor:
    """Starts the fake of datadog, newrelic, cloudwatch, otlp or grafana; its log and certificates lie in folder/NAME.

    With `tls`, its URL is https and `ca_file` the CA to trust. It ends with this process, at the latest.
    """
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    key = KEYS.get(name, "") if api_key is None else api_key
    command = [sys.executable, "-m", f"tests.vendors.{name}", "--with-stdin", f"--port={port}", f"--keep={keep}"]
    command += [f"--api-key={key}"] if key else []
    ca = None
    if tls:
        certificates = place / "certificates"
        certificates.mkdir(exist_ok=True)
        authority = Authority(place)
        authority.issue("right").cert.rename(certificates / "right.crt")
        ca = authority.cert
        authority.issue("expired", begins=-3, ends=-1).cert.rename(certificates / "expired.crt")
        for which in ("right", "expired"):
            (place / f"{which}.key").rename(certificates / f"{which}.key")
        Authority(certificates, "stranger").issue("wrong")
        command.append(f"--certificates={certificates}")
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise AssertionError(f"the fake of {name} did not start:\n{(place / 'log').read_text()[-4000:]}")
    ports = json.loads(line)
    vendor = Vendor(name, process, ports["port"], ports["control"], ca)
    vendor.api_key = key
    return vendor
