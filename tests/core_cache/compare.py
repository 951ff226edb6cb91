"""A redis-server and our server side by side, and when two replies count as the same: to the letter, but for clocks
and for the order of keys and of names."""

from tests.core_cache.raw_resp import Command, RawClient, decode
from tests.servers import Server

# Replies that hold a time: by how much two servers that got the command one after the other may differ.
CLOCKS = {b"TTL": 1, b"PTTL": 3000, b"EXPIRETIME": 3, b"PEXPIRETIME": 3000}
UNORDERED = {(b"KEYS",), (b"SCAN",), (b"COMMAND", b"LIST")}


def same_reply(command: Command, redis: bytes, ours: bytes) -> bool:
    """Whether our reply to the command says the same as redis-server's."""
    if redis == ours:
        return True
    name = command[0].upper()
    if name in CLOCKS and redis[:1] == ours[:1] == b":":
        ours_time, redis_time = decode(ours), decode(redis)
        return min(ours_time, redis_time) >= 0 and abs(ours_time - redis_time) <= CLOCKS[name]
    words = tuple(word.upper() for word in command[:2])
    if {words[:1], words} & UNORDERED and redis[:1] == ours[:1] == b"*":
        ours_keys, redis_keys = decode(ours), decode(redis)
        if name == b"SCAN":
            (ours_cursor, ours_keys), (redis_cursor, redis_keys) = ours_keys, redis_keys
            if ours_cursor != redis_cursor:
                return False
        return sorted(ours_keys) == sorted(redis_keys)
    return False


def differences(replies: list[tuple[Command, bytes, bytes]]) -> str:
    """One line for each reply that differs; empty when all agree."""
    return "\n".join(
        f"{b' '.join(command)!r}: redis-server gives {redis!r}, we give {ours!r}"
        for command, redis, ours in replies
        if not same_reply(command, redis, ours)
    )


class Pair:
    """A connection to redis-server and one to ours, which are to give the same replies."""

    def __init__(self, redis_server: Server, our_server: Server, protocol: int = 2) -> None:
        self.redis_server = redis_server
        self.our_server = our_server
        self.redis = RawClient(redis_server.port, protocol=protocol)
        self.ours = RawClient(our_server.port, protocol=protocol)

    def both(self, commands: list[Command]) -> list[tuple[Command, bytes, bytes]]:
        """Sends the commands to both servers; gives each command with the reply of redis-server and with ours."""
        return list(zip(commands, self.redis.pipeline(commands), self.ours.pipeline(commands), strict=True))

    def clear(self) -> None:
        """Empties both servers."""
        for client in (self.redis, self.ours):
            assert client.command(b"FLUSHALL") == b"+OK\r\n"

    def close(self) -> None:
        self.redis.close()
        self.ours.close()
