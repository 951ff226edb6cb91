"""The page on exporters says what the code says, and so do the settings that they share."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from agent.api import ApiKey, ExportConfig, PluginConfig
from agent.export import report
from agent.export.pipe import ExportPipe
from tests.agent.export.scripted import Scripted
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "exporters.md").read_text(encoding="utf-8")


def test_the_settings_are_those_of_all_exporters_with_their_defaults() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = tomllib.loads(block)
    assert set(settings) == set(ExportConfig.model_fields) - set(PluginConfig.model_fields)
    assert ExportConfig(**settings) == ExportConfig()


def test_every_key_of_the_status_is_explained(tmp_path: Path) -> None:
    pipe = ExportPipe("test", Scripted(), ExportConfig(), tmp_path / "export")
    try:
        assert [key for key in report.status(pipe) if f"`{key}`" not in PAGE] == []
    finally:
        pipe.stop(1.0)


def test_every_reason_for_a_drop_is_explained() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "agent" / "export").glob("*.py")]
    before = (
        r"SpoolError\(",
        r"reason = ",
        r"_drop\(0, ",
        r"give_up\(",
        r"points, ",
        r"lose\(1, ",
        r"reasons\[",
        r"dropped\[",
    )
    pattern = re.compile(rf'(?:{"|".join(before)})"(\w+)"')
    reasons = {reason for source in sources for reason in pattern.findall(source)}
    reasons |= {"disk_full", "disk_error", "too_old", "too_new"}
    assert {"not_finite", "spool_full", "rejected", "queue_full", "stopped", "encode_failed"} <= reasons
    assert [reason for reason in reasons - {"retry"} if f"`{reason}`" not in PAGE] == []


@pytest.mark.parametrize(
    "endpoint", ["host", "host:80", "ftp://host", "https://", "https://h:x", "http://[", "https:host"]
)
def test_an_endpoint_that_is_no_url_is_refused_with_the_mend(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="is not the URL of an endpoint"):
        ExportConfig(endpoint=endpoint)


@pytest.mark.parametrize("endpoint", ["https://h/?api_key=canary", "https://canary@h", "https://me:canary@h/x"])
def test_an_endpoint_in_which_a_key_may_be_is_refused_and_not_shown(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="has no user and no query") as caught:
        ExportConfig(endpoint=endpoint)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(("key", "kept"), [(" abc\n", "abc"), ("", "")])
def test_a_key_is_kept_as_a_header_takes_it(key: str, kept: str) -> None:
    assert TypeAdapter(ApiKey).validate_python(key).get_secret_value() == kept


@pytest.mark.parametrize("key", ["a b", "a\nb", "schl\u00fcssel"])
def test_a_key_that_no_header_takes_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="no spaces, line ends"):
        TypeAdapter(ApiKey).validate_python(key)


def test_an_endpoint_may_have_a_port_and_a_path() -> None:
    for endpoint in ("", "http://127.0.0.1:8080/x/y", "https://[::1]:1", "https://vendor.example"):
        assert ExportConfig(endpoint=endpoint).endpoint == endpoint
