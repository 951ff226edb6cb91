"""What CloudWatch's answers mean. AWS says with a code, more than with the HTTP status, what was wrong.

Codes: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.api import Answer, Verdict, answer_of

_LATER = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "LimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "InternalFailure",
        "InternalServiceFault",
        "InternalServiceError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestAbortedException",
    }
)
_TOO_LARGE = frozenset({"RequestEntityTooLarge", "RequestEntityTooLargeException", "RequestTooLarge"})
_EXPIRED_KEYS = frozenset({"ExpiredToken", "ExpiredTokenException"})
_WRONG_TIME = frozenset({"RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"})
_WRONG_TIME_SAID = re.compile(r"Signature (expired|not yet current)", re.I)
_LONGEST = 300  # characters of a message


def answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What became of a request."""
    usual = answer_of(status, headers, body)
    if usual.verdict is Verdict.accepted:
        return usual
    code, message = _error(headers, body)
    if not code:
        return usual
    verdict, detail = usual.verdict, f"{code}: {message}" if message else code
    if code in _WRONG_TIME or _WRONG_TIME_SAID.search(message):
        return replace(usual, verdict=Verdict.retry, reason="clock_skew", detail=_skew(headers))
    if code in _LATER:
        verdict = Verdict.retry
    elif code in _EXPIRED_KEYS:
        verdict, detail = Verdict.retry, f"{code}: the credentials are out of date; renew them"
    elif code in _TOO_LARGE:
        verdict = Verdict.too_large
    return replace(usual, verdict=verdict, reason=code, detail=detail)


def _error(headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Code and message, from JSON, or from the XML that load balancers and older servers answer; empty without."""
    text = body.decode(errors="replace")
    code = message = ""
    try:
        said: Any = json.loads(text)
    except ValueError:
        said = None
    if isinstance(said, dict):
        code = str(said.get("__type") or said.get("code") or "").split("#")[-1].split(":")[0]
        message = str(said.get("message") or said.get("Message") or "")
    elif found := re.search(r"<Code>\s*([^<]*?)\s*</Code>", text):
        code = found[1]
        if found := re.search(r"<Message>\s*([^<]*?)\s*</Message>", text):
            message = found[1]
    for name, value in headers.items():
        if name.lower() == "x-amzn-query-error":  # the code as the other protocols have it, such as Throttling;Sender
            code = value.split(";")[0]
    message = " ".join(message.split())
    return code if re.fullmatch(r"[A-Za-z.]{1,64}", code) else "", message[:_LONGEST]


def _skew(headers: Mapping[str, str]) -> str:
    """How wrong this machine's clock is by the server's."""
    mend = "correct it, for instance with chrony or systemd-timesyncd"
    for name, value in headers.items():
        if name.lower() == "date":
            try:
                ahead = time.time() - email.utils.parsedate_to_datetime(value).timestamp()
            except (ValueError, TypeError):
                break
            return f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} AWS'; {mend}"
    return f"this machine's clock is wrong by AWS'; {mend}"
