"""The hosted cache, over its unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.api import PredisError, Task
from core_cache.resp_client import RespClient, RespError
from plugins.remediation.action import Effects

CLIENT_NAME = "predis-agent"
TIMEOUT = 10.0  # seconds for one answer


def connect(task: Task) -> RespClient:
    """A connection that the user `default` is logged in to, by the agent's name. Raises RespError, PredisError."""
    address = task.host.cache
    try:
        password = None if address.password_file is None else address.password_file.read_text().strip()
    except OSError as error:
        raise PredisError(f"the cache's password cannot be read: {error}") from None
    client = RespClient(address.unix_socket, password, timeout=TIMEOUT)
    try:
        client.command("CLIENT", "SETNAME", CLIENT_NAME)
    except RespError:
        client.close()
        raise
    return client


@contextmanager
def hosted_cache(task: Task) -> Iterator[RespClient]:
    """A connection for as long as it is needed; what goes wrong with it is a PredisError."""
    try:
        with connect(task) as client:
            yield client
    except RespError as error:
        raise PredisError(f"the cache does not do it: {error}") from None


def setting(client: RespClient, name: str) -> str:
    """What CONFIG GET says."""
    reply = client.command("CONFIG", "GET", name)
    if not isinstance(reply, list) or len(reply) != 2 or not isinstance(reply[1], bytes):
        raise PredisError(f"the cache has no setting {name}")
    return reply[1].decode()


def restarting(restarts: bool) -> Effects:
    """What comes of a change for which the cache process may have to be restarted."""
    return Effects("; the cache process would be restarted, warm" if restarts else "", {"restarts": restarts})


def restarted(how: str) -> str:
    """What CacheControl.change says of a change, as an end of a sentence."""
    return "; the cache process was restarted, warm" if how == "restarted" else ""
