"""Putting a policy model in place."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core_cache.policy.artefact import ArtefactError, Dense, checksum, to_bytes
from core_cache.policy.place import PlaceError, in_place, put
from core_cache.resp_client import ServerError
from tests.servers import Server, start_cache

FIRST, SECOND = to_bytes(Dense.linear({"size": -1.0})), to_bytes(Dense.linear({"idle": -1.0}))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server]:
    server = start_cache(tmp_path)
    try:
        yield server
    finally:
        server.stop()


def test_it_scores_with_it_at_once_and_at_the_next_start(cache: Server, tmp_path: Path) -> None:
    with cache.client() as client:
        assert in_place(client) == ""
        put(client, cache.data_dir, FIRST)
        assert in_place(client) == checksum(FIRST)
        put(client, cache.data_dir, SECOND)
        assert in_place(client) == checksum(SECOND)
    path = cache.data_dir / "policy.model"
    assert path.read_bytes() == SECOND
    assert path.stat().st_mode & 0o777 == 0o600
    cache.stop()
    again = start_cache(tmp_path)
    try:
        with again.client() as client:
            assert in_place(client) == checksum(SECOND)
            put(client, again.data_dir, None)
            assert in_place(client) == ""
    finally:
        again.stop()
    assert not path.exists()


@pytest.mark.parametrize("before", [None, FIRST])
def test_what_the_cache_does_not_take_leaves_the_file_as_it_was(
    cache: Server, tmp_path: Path, before: bytes | None
) -> None:
    elsewhere = tmp_path / "elsewhere"  # the cache looks in its own folder, and finds nothing
    elsewhere.mkdir()
    if before is not None:
        (elsewhere / "policy.model").write_bytes(before)
    with cache.client() as client:
        with pytest.raises(ServerError, match="cannot be opened"):
            put(client, elsewhere, SECOND)
        with pytest.raises(ArtefactError):
            put(client, elsewhere, SECOND[:-1])
        assert in_place(client) == ""
    found = [path.read_bytes() for path in elsewhere.iterdir()]
    assert found == ([] if before is None else [before])


def test_a_server_that_knows_no_models_is_told(redis_server: Server) -> None:
    with redis_server.client() as client, pytest.raises(PlaceError, match="does not say which policy model it has"):
        in_place(client)
