"""Tenants: each has its own keys, memory, rights and numbers."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core_cache import tenants
from core_cache._native import Connection, Engine, StatsReader
from core_cache.tenants import Tenant, find_wrong
from tests import servers
from tests.core_cache.raw_resp import RawClient, decode_all, encode
from tests.servers import Server
from tests.waiting import PATIENCE, wait_until

MIB = 1 << 20
TWO = {"ann": {"prefix": "a:", "quota": 8 * MIB}, "bob": {"prefix": "b:", "quota": 2 * MIB}}
NOPERM_KEY = "-NOPERM this user has no permissions to access one of the keys used as arguments"


def write(folder: Path, document: Any) -> Path:
    path = folder / "tenants.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def start(folder: Path, document: Any = TWO, *options: str, **given: Any) -> Server:
    return servers.start_cache(folder, "--tenants-file", str(write(folder, document)), *options, **given)


def login(server: Server, name: str) -> RawClient:
    client = RawClient(server.port)
    password = (server.data_dir / "tenants" / f"{name}.password").read_bytes().strip()
    assert client.value(b"AUTH", name.encode(), password) == b"OK"
    return client


def admin(server: Server) -> RawClient:
    client = RawClient(server.port)
    assert server.password is not None
    assert client.value(b"AUTH", server.password.encode()) == b"OK"
    return client


def numbers(server: Server, name: str) -> dict[str, Any]:
    return dict(StatsReader(server.data_dir / "cache.arena").read()["tenants"][name])


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Server]:
    server = start(tmp_path)
    yield server
    server.stop()


def test_a_tenant_reaches_its_own_keys_and_no_others(cache: Server) -> None:
    ann, bob = login(cache, "ann"), login(cache, "bob")
    assert ann.value(b"SET", b"a:1", b"x") == b"OK"
    assert bob.value(b"SET", b"b:1", b"y") == b"OK"
    for command in ([b"GET", b"a:1"], [b"SET", b"a:1", b"z"], [b"DEL", b"b:1", b"a:1"], [b"MGET", b"b:1", b"a:1"],
                    [b"RENAME", b"b:1", b"a:2"], [b"COPY", b"a:1", b"b:2"], [b"GET", b"nobody's"],
                    [b"MEMORY", b"USAGE", b"a:1"], [b"OBJECT", b"ENCODING", b"a:1"]):  # fmt: skip
        assert bob.value(*command) == NOPERM_KEY, command
    assert ann.value(b"GET", b"a:1") == b"x"
    assert bob.value(b"GET", b"b:1") == b"y"


def test_walks_show_a_tenant_its_own_keys(cache: Server) -> None:
    ann, bob = login(cache, "ann"), login(cache, "bob")
    for i in range(1000):
        ann.value(b"SET", b"a:%d" % i, b"x")
    for i in range(50):
        bob.value(b"SET", b"b:%d" % i, b"x")
    for count in (b"1", b"10", b"1000000"):
        found, cursor, calls = set[bytes](), b"0", 0
        while calls == 0 or cursor != b"0":
            cursor, keys = bob.value(b"SCAN", cursor, b"COUNT", count)
            found |= set(keys)
            calls += 1
            assert calls < 2000
        assert found == {b"b:%d" % i for i in range(50)}
    assert calls >= 2, "one call went through more keys than a tenant's may"
    assert bob.value(b"DBSIZE") == 50
    assert ann.value(b"DBSIZE") == 1000
    assert admin(cache).value(b"DBSIZE") == 1050


@pytest.mark.parametrize("line", [
    "KEYS *", "FLUSHALL", "FLUSHDB", "RANDOMKEY", "CONFIG GET *", "CLIENT LIST", "MEMORY STATS", "PUBSUB CHANNELS",
    "SLOWLOG GET", "ACL LIST", "SHUTDOWN", "SWAPDB 0 0", "LATENCY LATEST",
])  # fmt: skip
def test_what_tells_of_others_or_touches_them_is_refused(cache: Server, line: str) -> None:
    words = line.encode().split()
    reply = login(cache, "ann").value(*words)
    assert reply.startswith("-NOPERM this user has no permissions to run the ")


def test_what_clients_send_on_their_own_works(cache: Server) -> None:
    ann = login(cache, "ann")
    assert ann.value(b"PING") == b"PONG"
    assert ann.value(b"CLIENT", b"SETNAME", b"me") == b"OK"
    assert ann.value(b"CLIENT", b"SETINFO", b"LIB-NAME", b"x") == b"OK"
    assert ann.value(b"CLIENT", b"ID") > 0
    assert ann.value(b"SELECT", b"0") == b"OK"
    assert ann.value(b"COMMAND", b"COUNT") > 100
    assert ann.value(b"ACL", b"WHOAMI") == b"ann"
    assert ann.command(b"HELLO", b"3").startswith(b"%")


def test_info_tells_a_tenant_of_itself_alone(cache: Server) -> None:
    ann = login(cache, "ann")
    ann.value(b"SET", b"a:1", b"x")
    text = ann.value(b"INFO", b"everything").decode()
    assert "redis_version:7.0.15" in text
    assert "db0:keys=1" in text
    assert "tenant_ann:keys=1,bytes=" in text
    for foreign in ("bob", "used_memory", "connected_clients", "keyspace_hits", "arena"):
        assert foreign not in text
    assert "tenant_bob:" in admin(cache).value(b"INFO", b"tenants").decode()


def test_a_flood_evicts_the_flooders_keys_and_no_others(cache: Server) -> None:
    ann, bob = login(cache, "ann"), login(cache, "bob")
    for i in range(2000):
        ann.value(b"SET", b"a:%d" % i, b"v" * 100)
    for start_at in range(0, 60_000, 1000):
        commands = [(b"SET", b"b:%d" % i, b"v" * 500) for i in range(start_at, start_at + 1000)]
        assert set(bob.pipeline(commands)) == {b"+OK\r\n"}
    assert ann.value(b"DBSIZE") == 2000
    wait_until(lambda: numbers(cache, "ann")["keys"] == 2000, 5, "the gauges")
    of_bob, of_ann = numbers(cache, "bob"), numbers(cache, "ann")
    assert of_bob["bytes"] <= of_bob["quota"] == 2 * MIB
    assert of_bob["evicted"] == 60_000 - bob.value(b"DBSIZE") > 50_000
    assert of_ann["evicted"] == 0


def test_where_nothing_is_evicted_the_quota_is_the_end_of_memory(tmp_path: Path) -> None:
    server = start(tmp_path, TWO, "--policy", "noeviction")
    try:
        ann, bob = login(server, "ann"), login(server, "bob")
        replies = bob.pipeline([(b"SET", b"b:%d" % i, b"v" * 500) for i in range(5000)])
        assert replies[0] == b"+OK\r\n"
        assert replies[-1] == b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
        assert 3000 < replies.count(b"+OK\r\n") < 4200
        assert bob.value(b"GET", b"b:0") == b"v" * 500
        assert ann.value(b"SET", b"a:1", b"v" * 500) == b"OK"
        assert bob.value(b"DEL", b"b:0", b"b:1") == 2
        assert bob.value(b"SET", b"b:new", b"v" * 500) == b"OK"
    finally:
        server.stop()


def test_many_pairs_at_once_are_held_to_the_quota_too(tmp_path: Path) -> None:
    """Where nothing is evicted, MSET finds the room for all pairs first: what it has found counts."""
    server = start(tmp_path, TWO, "--policy", "noeviction")
    try:
        bob = login(server, "bob")
        pairs = [part for i in range(60) for part in (b"b:%d" % i, b"v" * 50_000)]
        assert bob.value(b"MSET", *pairs) == "-OOM command not allowed when used memory > 'maxmemory'."
        assert bob.value(b"DBSIZE") == 0
        assert bob.value(b"MSET", *pairs[:60]) == b"OK"
        assert bob.value(b"MSET", *pairs[60:]) == "-OOM command not allowed when used memory > 'maxmemory'."
        assert bob.value(b"DBSIZE") == 30
        assert bob.value(b"UNLINK", *pairs[:60:2]) == 30
        assert bob.value(b"MSET", *pairs[60:]) == b"OK", "what was refused is not counted for ever"
    finally:
        server.stop()


def test_values_that_never_arrive_take_no_more_than_the_quota(cache: Server) -> None:
    boss = admin(cache)
    kept = [b"k:%d" % i for i in range(400)]
    assert set(boss.pipeline([(b"SET", key, b"v" * 100_000) for key in kept])) == {b"+OK\r\n"}  # 40 of 64 MiB
    clients = [login(cache, "ann") for _ in range(20)]
    for i, client in enumerate(clients):  # 7 of 8 MiB each, twenty times, and then nothing more
        client.socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\na:%03d\r\n$%d\r\n" % (5, i, 7 * MIB) + b"x" * (6 * MIB))
    ann = login(cache, "ann")
    assert set(ann.pipeline([(b"SET", b"a:%d" % i, b"v" * 1000) for i in range(4000)])) == {b"+OK\r\n"}
    assert boss.value(b"EXISTS", *kept) == len(kept), "another's keys had to go"
    clients[7].socket.sendall(b"y" * MIB + b"\r\n")
    assert clients[7].reply() == b"+OK\r\n"
    assert boss.value(b"STRLEN", b"a:007") == 7 * MIB
    assert boss.value(b"EXISTS", *kept) == len(kept)


def test_what_is_counted_adds_up(cache: Server) -> None:
    ann, bob, root = login(cache, "ann"), login(cache, "bob"), admin(cache)
    before = numbers(cache, "ann")
    sets = [(b"SET", b"a:%d" % i, b"x") for i in range(100)]
    gets = [(b"GET", b"a:%d" % i) for i in range(150)]
    single: list[tuple[bytes, ...]] = [(b"GET", b"b:1"), (b"SET", b"a:gone", b"x", b"PX", b"1")]
    ann.pipeline(sets)
    ann.pipeline(gets)
    for command in single:
        ann.value(*command)
    bob.pipeline([(b"GET", b"b:%d" % i) for i in range(7)])
    root.pipeline([(b"GET", b"a:%d" % i) for i in range(10)])  # of nobody, whatever the key
    wait_until(lambda: numbers(cache, "ann")["expired"] == 1, 5, "the end of a:gone")
    after = numbers(cache, "ann")
    grown = {name: after[name] - before[name] for name in after if name != "latency"}
    assert grown["commands"] == 251
    assert grown["hits"] == 100
    assert grown["misses"] == 50
    assert grown["errors"] == 1
    assert grown["keys"] == 100
    assert sum(after["latency"]) == after["commands"]
    assert after["nanoseconds"] > 0
    assert grown["bytes_in"] == len(b"".join(map(encode, [*sets, *gets, *single])))
    assert grown["bytes_out"] == 101 * 5 + 100 * 7 + 50 * 5 + len(NOPERM_KEY) + 2
    assert numbers(cache, "bob")["misses"] == 7
    assert root.value(b"CONFIG", b"RESETSTAT") == b"OK"
    reset = numbers(cache, "ann")
    assert (reset["commands"], reset["hits"], sum(reset["latency"])) == (0, 0, 0)
    assert reset["quota"] == 8 * MIB


def test_tenants_come_and_go_with_a_restart(tmp_path: Path) -> None:
    server = start(tmp_path)
    ann, bob = login(server, "ann"), login(server, "bob")
    ann.pipeline([(b"SET", b"a:%d" % i, b"x") for i in range(100)])
    bob.pipeline([(b"SET", b"b:%d" % i, b"y") for i in range(50)])
    admin(server).pipeline([(b"SET", b"c:%d" % i, b"z") for i in range(25)])
    server.stop(signal.SIGKILL)
    # when ann is a tenant no more, and cem has become one, before bob
    server = start(tmp_path, {"cem": {"prefix": "c:", "quota": MIB}, "bob": TWO["bob"]}, port=server.port)
    try:
        # then all keys are there, with their new owners
        assert RawClient(server.port).value(b"AUTH", b"ann", b"x").startswith("-WRONGPASS")
        assert login(server, "bob").value(b"DBSIZE") == 50
        assert login(server, "cem").value(b"DBSIZE") == 25
        assert login(server, "bob").value(b"GET", b"b:7") == b"y"
        assert admin(server).value(b"GET", b"a:7") == b"x"
        assert numbers(server, "cem")["bytes"] > 0
        assert "ann" not in StatsReader(server.data_dir / "cache.arena").read()["tenants"]
    finally:
        server.stop()


def test_settings_that_would_mix_tenants_are_refused(cache: Server) -> None:
    root = admin(cache)
    for policy in (b"allkeys-lru", b"allkeys-lfu", b"allkeys-random", b"volatile-ttl", b"volatile-lru"):
        assert "this cache has tenants" in root.value(b"CONFIG", b"SET", b"maxmemory-policy", policy)
    assert root.value(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction") == b"OK"
    assert "quotas, 10485760 bytes, are more than 7/8" in root.value(b"CONFIG", b"SET", b"maxmemory", b"11mb")
    assert root.value(b"CONFIG", b"SET", b"maxmemory", b"32mb") == b"OK"


def test_the_configuration_decides_about_a_tenants_user(tmp_path: Path) -> None:
    acl = tmp_path / "users.acl"
    acl.write_text("user bob on nopass ~* &* +@all\n")
    acl.chmod(0o600)
    server = start(tmp_path, TWO, "--acl-file", str(acl))
    try:
        assert RawClient(server.port).value(b"AUTH", b"bob", b"anything").startswith("-WRONGPASS")
        bob = login(server, "bob")
        assert bob.value(b"GET", b"a:1") == NOPERM_KEY
        assert admin(server).value(b"ACL", b"LOAD") == b"OK"
        assert login(server, "bob").value(b"GET", b"a:1") == NOPERM_KEY
    finally:
        server.stop()


def test_a_prefix_means_itself_and_is_no_pattern(tmp_path: Path) -> None:
    server = start(tmp_path, {"odd": {"prefix": "a*[x]?\\:", "quota": MIB}})
    try:
        odd = login(server, "odd")
        assert odd.value(b"SET", b"a*[x]?\\:1", b"x") == b"OK"
        assert odd.value(b"GET", b"abx1\\:1") == NOPERM_KEY
        assert odd.value(b"DBSIZE") == 1
    finally:
        server.stop()


def test_tracking_tells_a_tenant_of_no_foreign_key(cache: Server) -> None:
    ann = login(cache, "ann")
    ann.command(b"HELLO", b"3")
    refused = "-NOPERM a tenant's tracking in broadcasting mode needs prefixes that begin with its own"
    assert ann.value(b"CLIENT", b"TRACKING", b"on", b"BCAST") == refused
    assert ann.value(b"CLIENT", b"TRACKING", b"on", b"BCAST", b"PREFIX", b"b:") == refused
    assert ann.value(b"CLIENT", b"TRACKING", b"on", b"BCAST", b"PREFIX", b"a:x") != refused
    assert ann.value(b"CLIENT", b"TRACKING", b"on") != refused


# --- turns


def one(name: str, prefix: str, **limits: Any) -> Tenant:
    return Tenant(name, prefix, MIB, tenants.hash_of("secret"), **limits)


def test_a_limit_on_operations_holds_and_every_command_is_answered(tmp_path: Path) -> None:
    document = {"slow": {"prefix": "s:", "quota": MIB, "ops_per_second": 1000}}
    server = start(tmp_path, document)
    try:
        slow, root = login(server, "slow"), admin(server)
        began = time.monotonic()
        replies = slow.pipeline([(b"SET", b"s:%d" % i, b"x") for i in range(1000)])
        took = time.monotonic() - began
        assert replies == [b"+OK\r\n"] * 1000
        assert took > 0.8, "1000 commands at 1000 a second, 50 of them at once"
        assert root.value(b"DBSIZE") == 1000
        assert numbers(server, "slow")["throttled"] > 10
    finally:
        server.stop()


def test_who_waits_its_turn_is_answered_when_the_cache_stops(tmp_path: Path) -> None:
    server = start(tmp_path, {"slow": {"prefix": "s:", "quota": MIB, "ops_per_second": 10}})
    slow = login(server, "slow")
    slow.send_all([(b"SET", b"s:%d" % i, b"x") for i in range(500)])
    wait_until(lambda: numbers(server, "slow")["throttled"] > 0, 5, "a connection that is put aside")
    assert server.stop() == 0
    assert slow.read_to_end() == b"+OK\r\n" * 500


def test_a_connection_that_ends_while_it_waits_is_forgotten(tmp_path: Path) -> None:
    server = start(tmp_path, {"slow": {"prefix": "s:", "quota": MIB, "ops_per_second": 20}})
    try:
        slow, other, root = login(server, "slow"), login(server, "slow"), admin(server)
        name = slow.value(b"CLIENT", b"ID")
        slow.send_all([(b"SET", b"s:%d" % i, b"x") for i in range(200)])
        wait_until(lambda: numbers(server, "slow")["throttled"] > 0, 5, "a connection that is put aside")
        assert root.value(b"CLIENT", b"KILL", b"ID", str(name).encode()) == 1
        slow.read_to_end()
        assert other.value(b"SET", b"s:other", b"x") == b"OK"
        assert int(root.value(b"DBSIZE")) < 100
    finally:
        server.stop()


def test_a_flood_waits_its_turn_while_another_is_active(cache: Server) -> None:
    ann, bob = login(cache, "ann"), login(cache, "bob")
    ann.value(b"PING")
    flood = [(b"SET", b"b:%d" % (i % 1000), b"x" * 50) for i in range(20_000)]
    bob.send_all(flood)
    assert ann.value(b"PING") == b"PONG"
    assert [bob.reply() for _ in flood] == [b"+OK\r\n"] * len(flood)
    assert numbers(cache, "bob")["throttled"] > 10
    assert numbers(cache, "ann")["throttled"] == 0


@pytest.mark.skipif(PATIENCE > 1, reason="a sanitized engine takes as long for a GET as others for a long turn")
def test_who_asks_little_is_not_put_aside_for_the_network_work_that_the_system_does_in_its_turns(cache: Server) -> None:
    ann, loaders = login(cache, "ann"), [login(cache, "bob") for _ in range(4)]
    ended = threading.Event()

    def load(loader: RawClient) -> None:
        while not ended.is_set():
            assert loader.value(b"SET", b"b:large", b"v" * 1_000_000) == b"OK"

    with ThreadPoolExecutor(len(loaders)) as pool:
        loads = [pool.submit(load, loader) for loader in loaders]
        try:
            for _ in range(4000):
                ann.value(b"GET", b"a:none")
                time.sleep(0.0005)
        finally:
            ended.set()
        for one_load in loads:
            one_load.result()
    assert numbers(cache, "bob")["throttled"] > 100
    assert numbers(cache, "ann")["throttled"] < 10, "of 4,000 commands; it was up to one in five"


def test_without_an_event_loop_nobody_waits(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "arena"), 16 * MIB, "s3fifo", tenants=[one("t", "t:", ops_per_second=20)])
    client = Connection(engine)
    client.feed(encode((b"AUTH", b"t", b"secret")))
    assert decode_all(client.feed(encode((b"SET", b"t:1", b"x")) * 1000)) == [b"OK"] * 1000
    engine.close()


# --- what cannot be


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (one("default", "d:"), "default is the user who may do everything"),
        (one("a b", "d:"), "no name for a tenant"),
        (one("d", ""), 'the prefix is empty: write for example "d:"'),
        (one("d", "a b"), "no prefix of keys"),
        (one("d", "a:x"), 'its prefix "a:x" begins with that of ann, "a:"'),
        (one("d", "a:"), "begins with that of ann"),
        (one("ann", "d:"), "two of this name"),
        (one("d", "d:")._replace(quota=1), "too little"),
        (one("d", "d:")._replace(quota=14 * MIB), "more than 7/8 of the memory (14680064 bytes)"),
        (one("d", "d:", ops_per_second=-1), "negative"),
        (one("d", "d:", cpu_share=1.5), "no share of one processor"),
        (one("d", "d:")._replace(password_sha256="x"), "no SHA-256"),
    ],
    ids=lambda value: "",
)
def test_tenants_that_cannot_be_are_named(bad: Tenant, told: str) -> None:
    wrong = find_wrong([one("ann", "a:"), bad], 16 * MIB, "s3fifo", True)
    assert told in str(wrong)
    assert find_wrong([one("ann", "a:")], 16 * MIB, "s3fifo", True) is None


def test_there_are_no_tenants_without_passwords_or_with_a_policy_that_mixes_them() -> None:
    assert "without passwords" in str(find_wrong([one("a", "a:")], 16 * MIB, "s3fifo", False))
    assert 'the policy "lru" looks at all keys' in str(find_wrong([one("a", "a:")], 16 * MIB, "lru", True))
    assert "65 tenants are too many" in str(
        find_wrong([one(f"t{i}", f"{i:02}") for i in range(65)], 1 << 40, "s3fifo", True)
    )
    assert find_wrong([one(f"t{i}", f"{i:02}") for i in range(64)], 1 << 40, "s3fifo", True) is None


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("{", 0o600, "is no JSON"),
        ("[]", 0o600, "write an object of tenants"),
        ('{"a": {"prefix": "a:"}}', 0o600, "the tenant a has no quota"),
        ('{"a": {"prefix": "a:", "quota": "8MiB"}}', 0o600, "is of the wrong kind"),
        ('{"a": {"prefix": "a:", "quota": 8388608, "x": 1}}', 0o600, "has a key x"),
        ('{"a": {"prefix": "", "quota": 8388608}}', 0o600, "the prefix is empty"),
        ("{}", 0o644, "can be used by others: make it private with chmod 600"),
    ],
    ids=lambda value: "",
)
def test_a_file_that_is_no_good_ends_the_start_with_a_sentence(tmp_path: Path, text: str, mode: int, told: str) -> None:
    path = tmp_path / "tenants.json"
    path.write_text(text)
    path.chmod(mode)
    server = servers.start_cache(tmp_path, "--tenants-file", str(path), wait=False)
    assert server.process.wait(30) == 1
    assert told in server.log_text()
    assert "Traceback" not in server.log_text()


def test_made_passwords_are_private_and_stay(cache: Server) -> None:
    path = cache.data_dir / "tenants" / "ann.password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    secret = path.read_text().strip()
    assert len(secret) > 30
    assert secret not in cache.log_text()
    assert tenants.make_password(cache.data_dir, "ann") == secret
