"""Users and rights: our server and redis-server 7.0 get the same commands and give the same replies."""

import re
import textwrap
from collections.abc import Iterator

import pytest

from tests.core_cache.cases_acl import ACL_CASES
from tests.core_cache.compare import Pair, same_reply
from tests.core_cache.raw_resp import Command, words

RULES = re.compile(rb"([+-]@all)((?: [+-]@\w+)*)((?: [+-][^@) ]+)*)")


def in_order(reply: bytes) -> bytes:
    """A reply with the single commands of its command rules sorted: Redis lists them as its hash table has them."""
    return RULES.sub(lambda match: match[1] + match[2] + b" ".join(sorted(match[3].split(b" "))), reply)


def differences(replies: list[tuple[Command, bytes, bytes]]) -> str:
    return "\n".join(
        f"{b' '.join(command)!r}:\n  redis-server gives {redis!r},\n  we give            {ours!r}"
        for command, redis, ours in replies
        if in_order(redis) != in_order(ours) and not same_reply(command, redis, ours)
    )


@pytest.fixture(autouse=True)
def no_users(request: pytest.FixtureRequest) -> Iterator[None]:
    """Users outlive FLUSHALL and connections."""
    yield
    for server in request.getfixturevalue("server_pair"):
        with server.client() as client:
            users = client.command("ACL", "USERS")
            client.command("ACL", "DELUSER", "none", *[user for user in users if user != b"default"])
            client.command("ACL", "LOG", "RESET")


@pytest.mark.parametrize("title", ACL_CASES)
def test_replies_are_those_of_redis(pair: Pair, title: str) -> None:
    commands = [words(line) for line in textwrap.dedent(ACL_CASES[title]).strip().splitlines()]
    problems = differences(pair.both(commands))
    assert problems == "", f"{title}:\n{problems}"
