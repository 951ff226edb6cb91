"""The policy model in place: the one that a running cache scores with, and the one that it will start with."""

from __future__ import annotations

from pathlib import Path

from core_cache.places import POLICY_MODEL
from core_cache.policy.artefact import checksum, write_bytes
from core_cache.resp_client import RespClient


class PlaceError(RuntimeError):
    """The cache did not take the model; the message is a sentence for people."""


def in_place(client: RespClient) -> str:
    """The checksum of the model that the cache scores with; empty where it has none. Raises RespError, PlaceError."""
    try:
        return client.information("memory")["policy_model_checksum"]
    except KeyError:
        what = "this cache does not say which policy model it has: it is of an older version, upgrade it"
        raise PlaceError(what) from None


def put(client: RespClient, data_dir: Path, artefact: bytes | None) -> None:
    """Has the cache score with this model from now on, and when it is started again; None: with none, as plain S3-FIFO.

    client: whoever may run CONFIG SET. data_dir: the cache's own. What cannot be done changes nothing.
    Raises ArtefactError, OSError, RespError, PlaceError.
    """
    path = data_dir / POLICY_MODEL
    before = path.read_bytes() if path.exists() else None
    if artefact is not None:
        write_bytes(path, artefact)
    try:
        client.command("CONFIG", "SET", "policy-model", "" if artefact is None else POLICY_MODEL)
        now, wanted = in_place(client), "" if artefact is None else checksum(artefact)
        if now != wanted:
            raise PlaceError(f"the cache has the policy model {now or 'none'} still, though it took {wanted or 'none'}")
    except Exception:
        if artefact is not None and before is not None:
            write_bytes(path, before)
        elif artefact is not None:
            path.unlink()
        raise
    if artefact is None:
        path.unlink(missing_ok=True)
