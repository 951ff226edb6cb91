"""The command line of the cache process: what is a size, and which hosts only this machine can reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import is_loopback as agents_is_loopback
from agent.config.units import parse_size as agents_parse_size
from core_cache.options import is_loopback, parse_options, parse_size


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "localhost.", "LocalHost."]
)
def test_hosts_that_only_this_machine_can_reach(host: str) -> None:
    assert is_loopback(host)
    assert parse_options(["--no-auth", "--host", host]).auth is False


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "ip6-localhost", "localhost..", "localhost.example.org", "[::1]", ".", ""]
)
def test_hosts_that_others_may_reach(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_loopback(host)
    with pytest.raises(SystemExit):
        parse_options(["--no-auth", "--host", host])
    assert "--no-auth would open the cache to everybody" in capsys.readouterr().err


@given(st.sampled_from(["localhost", "ip6-localhost", "127.0.0.1", "[::1]", "::1", ""]) | st.text(max_size=20))
def test_the_agent_and_the_cache_agree_on_hosts(host: str) -> None:
    for written in (host, host.upper(), host + "."):
        assert agents_is_loopback(written) == is_loopback(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [("16GiB", 16 << 30), ("512 MiB", 512 << 20), ("1GB", 10**9), ("1.5KiB", 1536), ("2PiB", 2 << 50), (" 100 ", 100)],
)
def test_sizes_that_people_write(written: str, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("16G", 'write "16GiB" (of 1024) or "16GB" (of 1000)'),
        ("1.5", "whole number of bytes"),
        ("16 XB", "XB is not a unit"),
        ("lots", "'lots' is not a size: write a number with a unit"),
        ("9999999999PiB", "too large"),
    ],
)
def test_a_wrong_size_is_refused_with_the_mend(written: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--memory", written])
    assert told in capsys.readouterr().err


UNITS = ("", "b", "km", "eib", *(p + suffix for p in "kmgtpx" for suffix in ("", "b", "ib")))


@given(
    st.builds("{}{}{}".format, st.sampled_from(["0", "1.5", "16", "0.1", "1.", "9" * 25]), st.sampled_from(["", " "]),
              st.sampled_from([*UNITS, *map(str.upper, UNITS)]))
    | st.text(max_size=30)
)  # fmt: skip
def test_the_agent_and_the_cache_take_the_same_sizes(text: str) -> None:
    def size(parse: object) -> int | None:
        try:
            return parse(text)  # type: ignore[operator,no-any-return]
        except ValueError:
            return None

    assert size(agents_parse_size) == size(parse_size)
