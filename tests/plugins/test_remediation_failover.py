"""Failover, with real redis-servers that replicate."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import Host, Outcome, Plan, PlanOutdated, PredisError
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import Server, start_redis
from tests.waiting import wait_until

PASSWORD = "canary-of-replication"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return host_in(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a redis-server of this name, which may follow another."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; `make peers` installs it")
    started = []

    def start(name: str, primary: Server | None = None) -> Server:
        folder = tmp_path / name
        folder.mkdir()
        options = ["--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"]
        options += ["--replicaof", f"127.0.0.1 {primary.port}"] if primary is not None else []
        server = start_redis(folder, *options, password=PASSWORD)
        started.append(server)
        if primary is not None:
            wait_until(lambda: state(server)["master_link_status"] == "up", 20, f"{name} in step with its primary")
        return server

    yield start
    for server in started:
        server.stop(signal.SIGKILL)


def state(server: Server) -> dict[str, str]:
    with server.client() as client:
        reply = client.command("INFO", "replication")
    assert isinstance(reply, bytes)
    return dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)


def config(**servers: Server) -> dict[str, Any]:
    named = {
        name: {"url": f"redis://127.0.0.1:{server.port}", "password": PASSWORD} for name, server in servers.items()
    }
    return {"servers": named}


def get(server: Server, key: str) -> Any:
    with server.client() as client:
        return client.command("GET", key)


def put(server: Server, key: str, value: str) -> None:
    with server.client() as client:
        client.command("SET", key, value)


def lost(replica: Server) -> None:
    wait_until(lambda: state(replica)["master_link_status"] == "down", 20, "the replica to miss its primary")


def test_a_replica_takes_over_when_its_primary_is_gone(host: Host, start: Callable[..., Server]) -> None:
    # given a primary with two replicas, which is killed
    primary = start("primary")
    put(primary, "key", "value")
    first, second = start("first", primary), start("second", primary)
    settings = config(primary=primary, first=first, second=second)
    used = Used(action_of("failover.replica", settings), host, replica="first", primary="primary", followers=["second"])
    with pytest.raises(
        PredisError, match=rf"the primary 127.0.0.1:{primary.port} is there: with another there would be"
    ):
        used.plan()
    primary.stop(signal.SIGKILL)
    lost(first)
    # when it is planned, then nothing changes
    assert "would make first a primary, and have second follow it" in used.plan()
    assert state(first)["role"] == "slave"
    # when it runs, then the first is the primary, with the data, and the second follows it
    assert used.was_done() is False
    outcome = used.run()
    assert outcome.done
    assert "1 of 1 servers follow it now" in outcome.detail
    assert state(first)["role"] == "master"
    put(first, "key", "newer")
    wait_until(lambda: get(second, "key") == b"newer", 20, "the second to follow the first")
    # and after a crash that is known
    assert used.was_done()
    assert used.run().done
    with pytest.raises(PredisError, match="first is a primary already"):
        used.run("rule-1/0002")
    assert PASSWORD not in outcome.detail


def test_a_primary_that_only_the_replica_misses_is_not_replaced(host: Host, start: Callable[..., Server]) -> None:
    # given a replica that its primary does not let in any more, while it answers us
    primary = start("primary")
    replica = start("replica", primary)
    with replica.client() as client, primary.client() as others:
        client.command("CONFIG", "SET", "masterauth", "another")
        others.command("CLIENT", "KILL", "TYPE", "replica")
    lost(replica)
    settings = config(primary=primary, replica=replica)
    with pytest.raises(PredisError, match="the primary primary answers"):
        Used(action_of("failover.replica", settings), host, replica="replica", primary="primary").run()
    assert state(replica)["role"] == "slave"
    assert Used(action_of("failover.replica", settings), host, replica="replica", force=True).run("rule-1/0002").done
    assert state(replica)["role"] == "master"


def test_a_replica_that_never_had_the_data_does_not_take_over(host: Host, start: Callable[..., Server]) -> None:
    replica = start("replica")
    with replica.client() as client:
        client.command("REPLICAOF", "127.0.0.1", "1")
    lost(replica)
    used = Used(action_of("failover.replica", config(replica=replica)), host, replica="replica", force=True)
    with pytest.raises(PredisError, match="never in step with its primary"):
        used.run()
    assert state(replica)["role"] == "slave"


def test_a_replica_whose_data_are_old_does_not_take_over(host: Host, start: Callable[..., Server]) -> None:
    primary = start("primary")
    replica = start("replica", primary)
    primary.stop(signal.SIGKILL)
    lost(replica)
    used = Used(action_of("failover.replica", config(replica=replica)), host, replica="replica", stale="1s")
    wait_until(lambda: int(state(replica)["master_link_down_since_seconds"]) > 1, 20, "two seconds without the primary")
    with pytest.raises(PredisError, match="its data may be as old"):
        used.run()
    assert state(replica)["role"] == "slave"


def test_a_takeover_is_taken_back_only_while_nothing_was_written(host: Host, start: Callable[..., Server]) -> None:
    primary = start("primary")
    put(primary, "key", "value")
    replica = start("replica", primary)
    used = Used(action_of("failover.replica", config(replica=replica)), host, replica="replica", force=True)
    outcome = used.run()
    assert used.undo(outcome).detail == f"replica follows 127.0.0.1:{primary.port} again"
    assert state(replica)["role"] == "slave"
    outcome = used.run("rule-1/0002")
    put(replica, "key", "written to the new primary")
    undone = used.undo(outcome)
    assert not undone.done
    assert "it was written to since" in undone.detail
    assert get(replica, "key") == b"written to the new primary"


def test_a_server_is_filled_from_the_origin_if_it_may_lose_its_own(host: Host, start: Callable[..., Server]) -> None:
    origin, server = start("origin"), start("server")
    put(origin, "key", "of the origin")
    put(server, "own", "lost")
    settings = config(origin=origin, server=server)
    with pytest.raises(PredisError, match="has 1 keys, which would be lost: allow it with discard = true"):
        Used(action_of("failover.origin", settings), host, server="server", origin="origin").run()
    assert get(server, "own") == b"lost"
    used = Used(action_of("failover.origin", settings), host, server="server", origin="origin", discard=True)
    assert "its 1 keys give way to 1 of the origin" in used.plan()
    assert get(server, "own") == b"lost"
    outcome = used.run()
    assert get(server, "key") == b"of the origin"
    assert get(server, "own") is None
    assert used.was_done()
    assert used.undo(outcome).detail == "server is a primary again, with the data of the origin"
    assert state(server)["role"] == "master"
    assert used.was_done() is False


def test_an_origin_that_is_not_there_leaves_the_server_as_it_is(host: Host, start: Callable[..., Server]) -> None:
    server = start("server")
    put(server, "own", "kept")
    settings = config(server=server)
    settings["servers"]["origin"] = {"url": "redis://127.0.0.1:1"}
    used = Used(action_of("failover.origin", settings), host, server="server", origin="origin", discard=True)
    with pytest.raises(PredisError, match="the server origin: "):
        used.run()
    assert get(server, "own") == b"kept"
    assert state(server)["role"] == "master"


def test_a_takeover_that_was_planned_from_another_primary_is_not_done(host: Host, start: Callable[..., Server]) -> None:
    # given a plan for a replica that has lost its primary
    primary, other = start("primary"), start("other")
    replica = start("replica", primary)
    used = Used(action_of("failover.replica", config(replica=replica)), host, replica="replica")
    primary.stop(signal.SIGKILL)
    lost(replica)
    plan = used.plan()
    assert isinstance(plan, Plan)
    # its way back is known, and leads to where it is while nothing was begun
    assert used.undo(Outcome(False, "", plan.undo)).detail == f"replica follows 127.0.0.1:{primary.port} already"
    # when somebody has it follow another meanwhile, which is gone as well, then it is another takeover than was shown
    with replica.client() as client:
        client.command("REPLICAOF", "127.0.0.1", str(other.port))
    wait_until(lambda: state(replica)["master_link_status"] == "up", 20, "it is in step with the other")
    other.stop(signal.SIGKILL)
    lost(replica)
    with pytest.raises(PlanOutdated, match=f"primary is '127.0.0.1:{other.port}', and was '127.0.0.1:{primary.port}'"):
        used.run_as(plan)
    assert state(replica)["role"] == "slave"


def test_a_server_that_has_more_to_lose_than_was_shown_is_not_filled(host: Host, start: Callable[..., Server]) -> None:
    origin, server = start("origin"), start("server")
    put(server, "one", "1")
    settings = config(origin=origin, server=server)
    used = Used(action_of("failover.origin", settings), host, server="server", origin="origin", discard=True)
    plan = used.plan()
    assert isinstance(plan, Plan)
    assert used.undo(Outcome(False, "", plan.undo)).detail.startswith("server is as it was")
    put(server, "two", "2")
    with pytest.raises(PlanOutdated, match="2 keys to lose: more than the 1 shown"):
        used.run_as(plan)
    assert get(server, "one") == b"1"
    with server.client() as client:
        client.command("DEL", "two")
    assert used.run_as(plan).done  # no more than was shown
