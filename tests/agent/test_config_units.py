"""Durations and sizes: what people may write, what they are told otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from agent.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 2 d ", 172800),
        ("5min", 300),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("1w", 604800),
        (10, 10),
        (0.5, 0.5),
        ("0s", 0),
    ],
)
def test_durations_that_people_write(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("30", 'write "30s"'),
        ("5 parsecs", "30s"),
        ("-5s", "zero or more"),
        (-5, "zero or more"),
        ("", "not a duration"),
        ("s", "not a duration"),
        ("1h1h", "not a duration"),
        ("1h x", "not a duration"),
        (True, "not a duration"),
        ([], "not a duration"),
        (float("nan"), "too long"),
        (float("inf"), "too long"),
        ("9" * 30 + "w", "100 years"),
        ("9" * 5000 + "s", "not a duration"),
    ],
)
def test_a_wrong_duration_is_refused_with_the_mend(written: object, told: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_duration(written)
    assert told in caught.value.message()


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("16GiB", 16 << 30),
        ("16gib", 16 << 30),
        ("512 MiB", 512 << 20),
        ("1GB", 10**9),
        ("1.5KiB", 1536),
        ("0.1GiB", 107374182),
        ("100", 100),
        ("100B", 100),
        (4096, 4096),
        ("0B", 0),
    ],
)
def test_sizes_that_people_write(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("16G", '"16GiB" (of 1024) or "16GB" (of 1000)'),
        ("1.5", "whole number of bytes"),
        ("16 XB", "XB is not a unit"),
        ("lots", "not a size"),
        ("-1MiB", "not a size"),
        (-1, "negative"),
        (1.5, "not a size"),
        (True, "not a size"),
        (2**63, "too large"),
        ("9999999999PiB", "too large"),
        ("9" * 5000, "not a size"),
    ],
)
def test_a_wrong_size_is_refused_with_the_mend(written: object, told: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_size(written)
    assert told in caught.value.message()


@given(st.integers(0, 100 * 366 * 86400 * 10**3))
def test_a_formatted_duration_reads_back_as_itself(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9, rel=1e-15)


@given(st.integers(0, 2**63 - 1))
def test_a_formatted_size_reads_back_as_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.one_of(st.text(max_size=40), st.text("0123456789.hmsdwMGKiB ", max_size=40)))
def test_any_text_is_a_number_or_a_refusal(text: str) -> None:
    for parse, most in ((parse_duration, 100 * 366 * 86400), (parse_size, 2**63 - 1)):
        try:
            value = parse(text)
        except PydanticCustomError:
            continue
        assert 0 <= value <= most
