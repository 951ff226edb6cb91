"""Calls of a JSON interface over HTTP, one at a time, for installing things: it says what was answered, or raises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.dashboards.model import VendorError
from agent.export.http import HttpSender, answer_of
from agent.export.model import Answer, Verdict


class JsonApi:
    """Requests to paths below `url` with `headers`, whose values are never shown."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float, ca_file: Path | None = None) -> None:
        """Raises PredisError for a ca_file that cannot be used."""
        self.url = url.rstrip("/")
        self._headers = {**headers, "Content-Type": "application/json", "Accept": "application/json"}
        self._status, self._body = 0, b""
        self._http = HttpSender(timeout, ca_file, secrets=headers.values(), answer=self._judge)

    def call(self, method: str, path: str, document: object = None) -> Any:
        """The JSON value of the answer. Raises VendorError for an answer that is no success, and for none at all."""
        answer = self._ask(method, path, b"" if document is None else json.dumps(document).encode())
        self._accepted(answer, method, path)
        try:
            return json.loads(self._body)
        except ValueError:
            raise VendorError(f"{method} {self.url}{path} was answered with something else than JSON") from None

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes) -> Answer:
        self._status = 0  # of an answer that does not come
        return self._http.request(method, f"{self.url}{path}", body, self._headers)

    def _accepted(self, answer: Answer, method: str, path: str) -> None:
        if answer.verdict is not Verdict.accepted:
            mend = "; is the key right, and may it change dashboards?" if self._status in (401, 403) else ""
            raise VendorError(f"{method} {self.url}{path}: {answer.detail}{mend}")

    def _judge(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        self._status, self._body = status, body
        return answer_of(status, headers, body)
