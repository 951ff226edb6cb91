"""call.webhook: JSON, posted once, signed, under a key by which the receiver tells that it has had it before."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic import Field

from agent.api import HttpSender, Outcome, Plan, PredisError, Task, Verdict
from plugins.remediation.action import Action, Params, hold_to, must_have, pick
from plugins.remediation.config import Webhook, host_of
from plugins.remediation.notes import Notes

_MOST = 256 << 10  # bytes of a body


class WebhookParams(Params):
    """call.webhook. body: what is posted besides what the agent says of the rule. about: what it works on."""

    webhook: str = Field(examples=["oncall"])
    body: dict[str, Any] = Field(default={})
    about: str = Field(default="", pattern=r"^([a-z_]+:[^\s]+)?$")


class CallWebhook(Action):
    """Posts to a URL of the configuration. Redirects are refused, and nothing is tried twice.

    Whether the receiver has had it is known from its answer alone. Where the agent died before that came, nobody knows;
    the receiver would know a second one by its Idempotency-Key.
    """

    name = "call.webhook"
    help = "Posts JSON to a URL of the configuration, signed."
    Params = WebhookParams
    deadline = 30.0

    def __init__(self, webhooks: Mapping[str, Webhook]) -> None:
        self._webhooks = webhooks

    def target(self, params: WebhookParams) -> str:
        return params.about or f"webhook:{params.webhook}"

    def check(self, params: WebhookParams) -> None:
        must_have("webhook", "webhook", "webhooks", self._webhooks, params.webhook)

    def plan(self, params: WebhookParams, task: Task) -> str:
        webhook = self._find(params)
        body = _body(params, task)
        signed = "signed" if webhook.secret.get_secret_value() else "not signed, since it has no secret"
        text = f"would post {len(body)} bytes of JSON to {host_of(webhook.url.get_secret_value())}, {signed}"
        return Plan(text, _facts(webhook))

    def run(self, params: WebhookParams, task: Task) -> Outcome:
        if (done := self.done_before(params, task)) is not None:
            return done
        webhook = self._find(params)
        hold_to(task, _facts(webhook), f"the webhook {params.webhook}")
        url, secret = webhook.url.get_secret_value(), webhook.secret.get_secret_value()
        own = {name: value.get_secret_value() for name, value in webhook.headers.items()}
        body = _body(params, task)
        headers = {
            **own,
            "Content-Type": "application/json",
            "User-Agent": "predis-agent",
            "Idempotency-Key": quote(task.intent, safe="/:@"),  # a header is ASCII
        }
        if secret:
            headers["X-Predis-Signature"] = signature(secret, body, int(time.time()))
        sender = HttpSender(webhook.timeout, webhook.ca_file, secrets=(secret, url, *own.values()))
        try:
            answer = sender.post(url, body, headers)
        finally:
            sender.close()
        where = host_of(url)
        if answer.verdict is Verdict.accepted:
            detail = f"{where} took it"
            Notes(task.host.data_dir).write(task.intent, {"took": where})
            return Outcome(True, detail)
        unknown = "; it may have got it" if answer.maybe_taken else ""
        raise PredisError(f"{where} did not take it: {answer.detail}{unknown}")

    def done_before(self, params: WebhookParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        return None if noted is None else Outcome(True, f"{noted['took']} took it")

    def _find(self, params: WebhookParams) -> Webhook:
        return pick("webhook", "webhooks", self._webhooks, params.webhook)


def _facts(webhook: Webhook) -> dict[str, object]:
    """Where it goes; the URL may hold a token, so only a digest tells whether it is the one that was approved."""
    url = webhook.url.get_secret_value()
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return {"to": host_of(url), "url": digest, "signed": bool(webhook.secret.get_secret_value())}


def signature(secret: str, body: bytes, now: int) -> str:
    """The header: Unix time, and HMAC-SHA256 of that time, a full stop and the body, in hexadecimal digits."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def _body(params: WebhookParams, task: Task) -> bytes:
    document = {
        **params.body,
        "intent": task.intent,
        "rule": task.rule,
        "event": task.event,
        "attributes": dict(task.attributes),
        "time": task.now.time,
        "agent": task.host.version,
    }
    try:
        body = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PredisError(f"`body` cannot be written as JSON: {error}") from None
    if len(body) > _MOST:
        raise PredisError(f"the body has {len(body)} bytes; at most {_MOST} are posted")
    return body
