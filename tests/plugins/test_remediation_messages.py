"""call.webhook and notify, with real receivers."""

import hashlib
import hmac
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.api import Host, PredisError
from plugins.remediation.config import RemediationConfig
from tests.certificates import Authority
from tests.plugins.recording_server import Recorder, recording
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import free_port

SECRET, TOKEN = "canary-of-the-signature", "canary-of-the-header"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def receiver(authority: Authority) -> Iterator[Recorder]:
    with recording(authority.issue("receiver")) as recorder:
        yield recorder


def webhook(host: Host, receiver: Recorder, authority: Authority, **more: Any) -> Used:
    keys = {
        "url": f"{receiver.url}/hooks/canary-in-the-path",
        "secret": SECRET,
        "headers": {"Authorization": f"Bearer {TOKEN}"},
        "ca_file": str(authority.cert),
    }
    body = more.pop("body", {})
    return Used(action_of("call.webhook", {"webhooks": {"pager": {**keys, **more}}}), host, webhook="pager", body=body)


def test_json_is_posted_signed_and_under_the_intent(host: Host, receiver: Recorder, authority: Authority) -> None:
    used = webhook(host, receiver, authority, body={"team": "cache"})
    place = receiver.url.removeprefix("https://")
    assert re.fullmatch(rf"would post \d+ bytes of JSON to {place}, signed", used.plan())
    assert receiver.requests == []
    assert used.was_done() is None
    outcome = used.run(rule="memory", event="it is full", attributes={"tenant": "shop"})
    assert outcome.detail == f"{place} took it"
    (request,) = receiver.requests
    body = json.loads(request.body)
    assert body["team"] == "cache"
    assert (body["intent"], body["rule"], body["event"]) == ("rule-1/0001", "memory", "it is full")
    assert body["attributes"] == {"tenant": "shop"}
    assert request.headers["idempotency-key"] == "rule-1/0001"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    # the receiver's own check of the signature
    time, digest = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["x-predis-signature"]).groups()  # type: ignore[union-attr]
    assert hmac.new(SECRET.encode(), f"{time}.".encode() + request.body, hashlib.sha256).hexdigest() == digest
    assert used.was_done()
    assert used.run() == outcome
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [301, 307, 400, 401, 429, 500, 503])
def test_anything_but_success_is_told_and_not_tried_again(
    host: Host, receiver: Recorder, authority: Authority, status: int
) -> None:
    receiver.status, receiver.headers = status, {"Location": f"{receiver.url}/elsewhere", "Retry-After": "0"}
    receiver.body = f"you sent {TOKEN} and {SECRET}".encode()
    used = webhook(host, receiver, authority)
    with pytest.raises(PredisError, match=f"did not take it: HTTP status {status}") as caught:
        used.run()
    assert len(receiver.requests) == 1
    assert used.was_done() is None
    assert "canary" not in str(caught.value)


def test_who_has_no_right_certificate_gets_nothing(
    host: Host, receiver: Recorder, authority: Authority, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    used = webhook(host, receiver, authority, ca_file=str(Authority(stranger).cert))
    with pytest.raises(PredisError, match="TLS failed") as caught:
        used.run()
    assert receiver.requests == []
    assert "canary" not in str(caught.value)


def test_secrets_are_in_no_text(host: Host, receiver: Recorder, authority: Authority) -> None:
    used = webhook(host, receiver, authority)
    config = {"webhooks": {"pager": {"url": f"{receiver.url}/canary", "secret": SECRET, "headers": {"X-Key": TOKEN}}}}
    config["channels"] = {"oncall": {"secret_urls": ["json://canary@127.0.0.1/canary"]}}  # type: ignore[dict-item]
    model = RemediationConfig.model_validate(config)
    for text in (repr(model), str(model), repr(used.params), used.plan(), used.run().detail):
        assert "canary" not in text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.com/x", "without TLS"),
        ("https://user:pass@hooks.example.com/", "credentials do not belong"),
        ("ftp://hooks.example.com/", "write https://"),
        ("https://", "write https://"),
        ("file:///etc/passwd", "write https://"),
        ("https://[::1/", "write https://"),
    ],
)
def test_urls_that_are_none_for_this_are_refused(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        RemediationConfig.model_validate({"webhooks": {"it": {"url": url}}})
    assert "pass" not in str(caught.value)


def test_headers_cannot_smuggle_others() -> None:
    for headers in ({"X-A": "b\r\nX-C: d"}, {"X A": "b"}, {"X-A": "ü"}):
        with pytest.raises(ValidationError):
            RemediationConfig.model_validate({"webhooks": {"it": {"url": "https://example.com/", "headers": headers}}})


def test_a_body_that_is_no_json_is_refused(host: Host, receiver: Recorder, authority: Authority) -> None:
    with pytest.raises(PredisError, match="cannot be written as JSON"):
        webhook(host, receiver, authority, body={"share": float("nan")}).plan()
    with pytest.raises(PredisError, match="at most 262144 are posted"):
        webhook(host, receiver, authority, body={"share": "x" * 300_000}).run()
    assert receiver.requests == []


# --- notify


@pytest.fixture
def inbox() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.status = 200
        yield recorder


def notify(host: Host, *urls: str, **keys: Any) -> Used:
    config = {"channels": {"oncall": {"secret_urls": list(urls)}}}
    return Used(action_of("notify", config), host, channel="oncall", **keys)


def of(inbox: Recorder, path: str = "canary") -> str:
    return inbox.url.replace("http://", "json://") + f"/{path}"


def test_a_message_reaches_people_once(host: Host, inbox: Recorder) -> None:
    used = notify(host, of(inbox))
    assert used.action.changes_state is False
    assert used.plan() == "would send “Predis” to oncall (JSON)"
    assert inbox.requests == []
    outcome = used.run(rule="memory", event="The cache is full.", attributes={"tenant": "shop"})
    assert outcome.detail == "sent to oncall: 1 of 1 were reached"
    (request,) = inbox.requests
    message = json.loads(request.body)
    assert message["title"] == "Predis: memory"
    assert message["message"] == "The cache is full.\ntenant: shop"
    assert message["type"] == "warning"
    assert used.was_done()
    used.run()
    assert len(inbox.requests) == 1


def test_its_own_words_come_before_the_rules(host: Host, inbox: Recorder) -> None:
    notify(host, of(inbox), title="Look", body="Now.", severity="failure").run(rule="memory", event="full")
    message = json.loads(inbox.requests[0].body)
    assert (message["title"], message["message"], message["type"]) == ("Look", "Now.", "failure")


def test_who_was_reached_is_not_told_twice_when_another_was_not(host: Host, inbox: Recorder) -> None:
    nobody = f"json://127.0.0.1:{free_port()}/canary"
    used = notify(host, of(inbox, "first"), nobody, of(inbox, "third"))
    with pytest.raises(PredisError, match="2 of 3 in the channel oncall were reached; not JSON") as caught:
        used.run()
    assert "canary" not in str(caught.value)
    assert [request.path for request in inbox.requests] == ["/first", "/third"]
    assert used.was_done() is False
    with pytest.raises(PredisError, match="2 of 3"):
        used.run()
    assert len(inbox.requests) == 2


def test_a_refusal_is_no_delivery(host: Host, inbox: Recorder) -> None:
    inbox.status = 500
    with pytest.raises(PredisError, match="0 of 1"):
        notify(host, of(inbox)).run()


def test_a_url_that_apprise_does_not_know_is_found_by_a_plan(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PredisError, match="URL 1 of the channel oncall is none that Apprise knows") as caught:
        notify(host, "carrierpigeon://canary-4711-of-the-pigeon/token").plan()
    assert "canary" not in str(caught.value) + caplog.text


def test_an_intent_of_any_language_is_a_header(host: Host, receiver: Recorder, authority: Authority) -> None:
    webhook(host, receiver, authority).run("Speicher „voll“\n/0001")
    assert receiver.requests[0].headers["idempotency-key"] == "Speicher%20%E2%80%9Evoll%E2%80%9C%0A/0001"


@pytest.mark.parametrize(
    ("module", "name", "keys", "why"),
    [
        ("apprise", "notify", {"channel": "oncall"}, r"apprise is not installed: pip install 'predis-agent\[notify\]'"),
        (
            "boto3",
            "scale.aws",
            {"group": "g", "to": 1, "at_least": 0, "at_most": 2},
            "boto3 is not installed: pip install",
        ),
    ],
)
def test_a_library_that_is_missing_is_said(
    host: Host, monkeypatch: pytest.MonkeyPatch, module: str, name: str, keys: dict[str, Any], why: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    config = {"channels": {"oncall": {"secret_urls": ["json://127.0.0.1/"]}}}
    with pytest.raises(PredisError, match=why):
        Used(action_of(name, config), host, **keys).plan()
