"""model.retrain and model.rollback against a real cache: trained on its access log, judged by what clients get."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.api import Host, Plan, PlanOutdated, PredisError
from core_cache.policy.artefact import Dense, checksum, to_bytes, write
from core_cache.policy.place import in_place, put
from core_cache.policy.registry import ModelRegistry
from tests.core_cache.model_load import SMALL_KEYS, ask, names, write_log
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import Server, start_cache

NEVER = Dense.linear({"size": 1.0})  # keeps what is large
OTHER = Dense.linear({"idle": -1.0})


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cache with a log to learn from."""
    server = start_cache(tmp_path_factory.mktemp("loaded"), "--policy", "learned", "--access-log", "0", memory="16MiB")
    try:
        write_log(server.data_dir, names(300_000))
        yield server
    finally:
        server.stop()


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server]:
    server = start_cache(tmp_path, "--policy", "learned", "--access-log", str(1 / 256))
    try:
        yield server
    finally:
        server.stop()


def model_of(server: Server) -> str:
    with server.client() as client:
        return in_place(client)


def put_there(server: Server, host: Host, model: Dense, parent: int) -> int:
    """As an earlier model.retrain."""
    version = ModelRegistry(host.data_dir / "models").add(to_bytes(model), parent, "test", {})
    with server.client() as client:
        put(client, server.data_dir, to_bytes(model))
    return version.version


def test_a_model_that_was_trained_makes_fewer_misses_and_goes_back_again(loaded: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, loaded)
    used = Used(action_of("model.retrain"), host)
    plan = used.plan(rule="model-drift")
    assert (
        "300,000 accesses, to 100.00% of the keys, and put it in place if it surely misses less than plain s3fifo"
        in plan
    )
    assert used.action.target(used.params) == "cache:local"
    assert used.was_done() is False
    outcome = used.run_as(plan, rule="model-drift")
    assert outcome.done, outcome.detail
    assert outcome.detail.startswith("put version 1 in the place of plain s3fifo: of ")
    (version,) = ModelRegistry(host.data_dir / "models").versions()
    assert (version.checksum, version.origin) == (model_of(loaded), "retrained by the rule model-drift")
    assert used.was_done() is True

    with loaded.client() as client:
        client.command("FLUSHALL")
        ask(client, names(150_000, seed=2))
        learned = ask(client, names(250_000, seed=3))
        info = client.command("INFO", "memory")
        assert isinstance(info, bytes)
        assert int(info.split(b"policy_model_scored:")[1].split(b"\r\n")[0]) > 10_000
        # nothing is done twice under one intent
        assert used.run_as(plan).done
        assert len(ModelRegistry(host.data_dir / "models").versions()) == 1

        assert used.undo(outcome).done
        assert model_of(loaded) == ""
        client.command("FLUSHALL")  # what a model has kept outlives it by far
        ask(client, names(150_000, seed=2))
        plain = ask(client, names(250_000, seed=3))
    assert learned < 0.99 * plain
    assert version.report["miss_ratio"] < version.report["s3fifo"]["miss_ratio"]


def test_one_that_is_no_better_is_not_put_in_place(tmp_path: Path) -> None:
    """Of keys that are all the same there is nothing to learn."""
    server = start_cache(tmp_path, "--policy", "learned", "--access-log", "0", memory="16MiB")
    try:
        write_log(server.data_dir, SMALL_KEYS + np.random.default_rng(5).integers(0, 6000, 60_000))
        host = host_in(tmp_path, server)
        put_there(server, host, OTHER, 0)
        outcome = Used(action_of("model.retrain"), host).run()
        assert not outcome.done
        assert "is not surely better, and not put in place: of 12,000 reads it misses " in outcome.detail
        assert "the one in place" in outcome.detail
        assert model_of(server) == checksum(to_bytes(OTHER))
        assert len(ModelRegistry(host.data_dir / "models").versions()) == 1
    finally:
        server.stop()


def test_too_little_is_said_and_changes_nothing(cache: Server, tmp_path: Path) -> None:
    used = Used(action_of("model.retrain"), host_in(tmp_path, cache))
    with cache.client() as client:
        ask(client, names(20_000))
    with pytest.raises(PredisError, match=r"no new policy model: the .* accesses in the log, to .* keys, (fit|fill)"):
        used.run()
    assert model_of(cache) == ""
    assert list((used.host.data_dir).glob(".train.*")) == []


def test_who_waits_no_more_ends_the_training(loaded: Server, tmp_path: Path) -> None:
    used = Used(action_of("model.retrain"), host_in(tmp_path, loaded))
    began = time.monotonic()
    with pytest.raises(PredisError, match="nobody waits for it any more"):
        used.run(cancelled=lambda: time.monotonic() > began + 0.5)
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "core_cache.policy.worker" not in running
    assert model_of(loaded) == ""


def test_a_worker_that_needs_too_much_memory_is_told_of(loaded: Server, tmp_path: Path) -> None:
    used = Used(action_of("model.retrain"), host_in(tmp_path, loaded), memory_limit="16MiB")
    with pytest.raises(PredisError, match="there is no new policy model: it needs more than its memory limit"):
        used.run()
    assert model_of(loaded) == ""


def test_without_an_access_log_or_the_policy_the_plan_says_what_to_do(tmp_path: Path) -> None:
    server = start_cache(tmp_path, "--policy", "s3fifo", "--access-log", "0")
    try:
        for name in ("model.retrain", "model.rollback"):
            used = Used(action_of(name), host_in(tmp_path, server), **({"to": 0} if name.endswith("rollback") else {}))
            if name.endswith("rollback"):
                with server.client() as client:
                    put(client, server.data_dir, to_bytes(NEVER))
            with pytest.raises(PredisError, match=r'set cache\.policy = "learned"'):
                used.plan()
        with server.client() as client:
            client.command("CONFIG", "SET", "maxmemory-policy", "allkeys-learned")
        with pytest.raises(PredisError, match=r"no access log that can be read .* Set cache.access_log in agent.toml"):
            Used(action_of("model.retrain"), host_in(tmp_path, server)).plan()
    finally:
        server.stop()


def test_a_rollback_goes_to_what_was_before_step_by_step(cache: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, cache)
    used = Used(action_of("model.rollback"), host)
    with pytest.raises(PredisError, match="has no policy model: there is nothing to roll back"):
        used.plan()
    first = put_there(cache, host, NEVER, 0)
    assert put_there(cache, host, OTHER, first) == 2
    names = checksum(to_bytes(NEVER)), checksum(to_bytes(OTHER))
    plan = used.plan()
    assert plan == f"would change the cache's policy model from {names[1]} to {names[0]} (version 2 to version 1)"
    outcome = used.run_as(plan)
    assert outcome.done
    assert model_of(cache) == names[0]
    assert used.run_as(plan).done  # the same intent goes no further
    assert model_of(cache) == names[0]
    assert used.run("rule-1/0002").done
    assert model_of(cache) == ""
    assert not (cache.data_dir / "policy.model").exists()
    to = Used(action_of("model.rollback"), host, to=2)
    forward = to.run("rule-1/0003")
    assert model_of(cache) == names[1]
    assert to.undo(forward).done
    assert model_of(cache) == ""
    with pytest.raises(PredisError, match="has no version 9"):
        Used(action_of("model.rollback"), host, to=9).plan()


def test_what_was_put_there_by_hand_can_be_had_back(cache: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, cache)
    write(cache.data_dir / "mine.model", OTHER)
    with cache.client() as client:
        client.command("CONFIG", "SET", "policy-model", "mine.model")
    used = Used(action_of("model.rollback"), host)
    plan = used.plan()
    assert "(a model of unknown origin" in plan
    assert not (host.data_dir / "models").exists() or ModelRegistry(host.data_dir / "models").versions() == []
    outcome = used.run_as(plan)
    assert model_of(cache) == ""
    (cache.data_dir / "mine.model").unlink()
    assert used.undo(outcome).done
    assert model_of(cache) == checksum(to_bytes(OTHER))
    assert ModelRegistry(host.data_dir / "models").get(1).origin == "found in place"


def test_a_plan_is_not_carried_out_on_another_model(cache: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, cache)
    put_there(cache, host, NEVER, 0)
    plans = {name: Used(action_of(name), host).plan() for name in ("model.rollback", "model.retrain")}
    put_there(cache, host, OTHER, 1)
    for name, plan in plans.items():
        with pytest.raises(PlanOutdated):
            Used(action_of(name), host).run_as(plan)
    assert model_of(cache) == checksum(to_bytes(OTHER))


def test_the_model_outlives_a_kill_of_the_cache(tmp_path: Path) -> None:
    server = start_cache(tmp_path, "--policy", "learned")
    host = host_in(tmp_path, server)
    put_there(server, host, NEVER, 0)
    put_there(server, host, OTHER, 1)
    assert Used(action_of("model.rollback"), host).run().done
    server.stop(signal.SIGKILL)
    server = start_cache(tmp_path, "--policy", "learned")
    try:
        assert model_of(server) == checksum(to_bytes(NEVER))
    finally:
        server.stop()


DIES = """
import os, sys
from pathlib import Path
from core_cache.policy import place
from tests.plugins.remediation import Used, action_of, host_in
from tests.servers import Server
folder, moment = Path(sys.argv[1]), sys.argv[2]
password = (folder / "data/cache.password").read_text().strip()
server = Server("cache", None, 0, folder / "data/cache.sock", folder / "data", folder / "log", password)
put = place.put
def dying(*arguments):
    if moment == "after":
        put(*arguments)
    os._exit(7)
place.put = dying
Used(action_of("model.rollback"), host_in(folder, server)).run()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_after_a_crash_it_knows_what_was_done(cache: Server, tmp_path: Path, moment: str) -> None:
    host = host_in(tmp_path, cache)
    put_there(cache, host, NEVER, 0)
    put_there(cache, host, OTHER, 1)
    (tmp_path / "data").symlink_to(cache.data_dir) if not (tmp_path / "data").exists() else None
    assert subprocess.run([sys.executable, "-c", DIES, str(tmp_path), moment], check=False).returncode == 7
    used = Used(action_of("model.rollback"), host)
    assert used.was_done() is (moment == "after")
    assert used.run().done
    assert model_of(cache) == checksum(to_bytes(NEVER))


def test_an_undo_without_an_outcome_goes_back_only_from_its_own(cache: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, cache)
    used = Used(action_of("model.retrain"), host)
    put_there(cache, host, NEVER, 0)
    plan = used.plan()
    assert isinstance(plan, Plan)
    assert plan.undo is not None
    from tests.plugins.remediation import task

    def undo() -> bool:
        assert plan.undo is not None
        return used.action.undo(used.params, plan.undo, task(host, "rule-1/0001/undo")).done

    assert undo(), "nothing was changed, which is as good"
    put_there(cache, host, OTHER, 1)
    assert undo()
    assert model_of(cache) == checksum(to_bytes(NEVER))
    put_there(cache, host, Dense.linear({"hits": 1.0}), 0)
    assert not undo(), "somebody else's"


def test_a_registry_that_is_broken_stops_before_anything_is_changed(cache: Server, tmp_path: Path) -> None:
    host = host_in(tmp_path, cache)
    put_there(cache, host, NEVER, 0)
    put_there(cache, host, OTHER, 1)
    before = model_of(cache)
    with sqlite3.connect(host.data_dir / "models/models.sqlite") as file:
        file.execute("drop table versions")
        file.execute("create table versions (other)")
    with pytest.raises(PredisError, match="cannot be used"):
        Used(action_of("model.rollback"), host).run()
    assert model_of(cache) == before
