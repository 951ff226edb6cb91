"""What COMMAND says about our commands is what redis-server 7.0 says about its own."""

from typing import Any

from tests.core_cache.compare import Pair
from tests.core_cache.raw_resp import RawClient, decode

NEEDED = """
    PING ECHO HELLO AUTH QUIT RESET SELECT CLIENT COMMAND CONFIG INFO
    GET SET GETSET GETDEL GETEX MGET MSET MSETNX SETNX SETEX PSETEX APPEND STRLEN GETRANGE SUBSTR SETRANGE INCR DECR
    INCRBY DECRBY INCRBYFLOAT DEL UNLINK EXISTS TYPE TOUCH EXPIRE PEXPIRE EXPIREAT PEXPIREAT EXPIRETIME PEXPIRETIME TTL
    PTTL PERSIST RENAME RENAMENX COPY RANDOMKEY KEYS SCAN DBSIZE FLUSHDB FLUSHALL TIME MEMORY OBJECT SLOWLOG LATENCY
    DEBUG SETBIT GETBIT BITCOUNT BITPOS BITOP BITFIELD BITFIELD_RO LCS
    CLUSTER READONLY READWRITE ASKING ROLE WAIT REPLICAOF SLAVEOF FAILOVER SHUTDOWN MONITOR MODULE LOLWUT SWAPDB MOVE
    HSET HMSET HSETNX HGET HMGET HGETALL HKEYS HVALS HLEN HEXISTS HDEL HINCRBY HINCRBYFLOAT HSTRLEN HRANDFIELD HSCAN
    SADD SREM SISMEMBER SMISMEMBER SCARD SMEMBERS SPOP SRANDMEMBER SMOVE SINTER SINTERSTORE SINTERCARD SUNION
    SUNIONSTORE SDIFF SDIFFSTORE SSCAN LPUSH RPUSH LPUSHX RPUSHX LPOP RPOP LLEN LRANGE LINDEX LSET LREM LTRIM LINSERT
    LPOS LMOVE RPOPLPUSH LMPOP
    MULTI EXEC DISCARD WATCH UNWATCH SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE PUBLISH PUBSUB SSUBSCRIBE
    SUNSUBSCRIBE SPUBLISH
    ZADD ZINCRBY ZSCORE ZMSCORE ZCARD ZCOUNT ZLEXCOUNT ZRANGE ZRANGESTORE ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYSCORE
    ZRANGEBYLEX ZREVRANGEBYLEX ZRANK ZREVRANK ZREM ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREMRANGEBYLEX ZPOPMIN ZPOPMAX
    ZMPOP ZRANDMEMBER ZUNION ZINTER ZDIFF ZUNIONSTORE ZINTERSTORE ZDIFFSTORE ZINTERCARD ZSCAN
""".lower().split()
FIELDS = ["name", "arity", "flags", "first key", "last key", "key step", "ACL categories", "tips", "key specs"]


def infos(client: RawClient, *names: bytes) -> dict[bytes, list[Any]]:
    """COMMAND INFO by name, flags, categories and tips as sets; subcommands under their full names."""
    found = {}
    todo = [info for info in client.value(b"COMMAND", b"INFO", *names) if info is not None]
    while todo:
        info = todo.pop()
        found[info[0]] = [*info[:2], set(info[2]), *info[3:6], set(info[6]), set(info[7]), info[8]]
        todo += info[9]
    return found


def docs(client: RawClient, *names: bytes) -> dict[bytes, dict[bytes, Any]]:
    flat = client.value(b"COMMAND", b"DOCS", *names)
    return {name: dict(zip(doc[::2], doc[1::2], strict=True)) for name, doc in zip(flat[::2], flat[1::2], strict=True)}


def test_the_commands_of_the_issue_are_there(pair2: Pair) -> None:
    ours = {name.decode() for name in pair2.ours.value(b"COMMAND", b"LIST")}
    assert {b"client|id", b"config|get"} <= set(pair2.ours.value(b"COMMAND", b"LIST")), "subcommands are listed as well"
    assert [name for name in NEEDED if name not in ours] == []
    assert pair2.ours.value(b"COMMAND", b"COUNT") == len(pair2.ours.value(b"COMMAND"))


def test_command_info_is_that_of_redis(pair2: Pair) -> None:
    """Arity, flags, positions and specifications of keys, ACL categories and tips, of commands and subcommands."""
    redis = infos(pair2.redis, *map(str.encode, NEEDED))
    ours = infos(pair2.ours, *map(str.encode, NEEDED))
    problems = [
        f"{name.decode()}: {field}: redis-server says {theirs}, we say {mine}"
        for name in sorted(ours.keys() & redis.keys())
        for field, theirs, mine in zip(FIELDS, redis[name], ours[name], strict=True)
        if theirs != mine
    ]
    assert problems == []
    assert len(ours) > len(NEEDED), "no subcommands are listed"


def test_command_docs_are_there_and_tell_since_when(pair2: Pair) -> None:
    """`since` and `group` are Redis'; summary and complexity are our own words, but they are there."""
    names = list(map(str.encode, NEEDED))
    redis, ours = docs(pair2.redis, *names), docs(pair2.ours, *names)
    for name in names:
        assert ours[name][b"since"] == redis[name][b"since"], name
        assert ours[name][b"group"] == redis[name][b"group"], name
        assert ours[name][b"summary"], name


def test_an_unknown_command_has_no_entry(pair2: Pair) -> None:
    for question in (b"INFO", b"DOCS"):
        asked = (b"COMMAND", question, b"no-such-command", b"get|nothing")
        assert decode(pair2.ours.command(*asked)) == decode(pair2.redis.command(*asked))
