"""Writes docs/commands.md from what the engine says about its own commands.

    python -m tests.core_cache.commands_page > docs/commands.md

A test fails while the page is not what this prints.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from core_cache._native import Connection, Engine
from tests.core_cache.raw_resp import decode, encode
from tests.core_cache.redis_commands import REDIS_COMMANDS

TITLES = {
    "generic": "Keys",
    "string": "Strings",
    "bitmap": "Bits",
    "hash": "Hashes",
    "list": "Lists",
    "set": "Sets",
    "sorted-set": "Sorted sets",
    "hyperloglog": "HyperLogLog",
    "geo": "Positions on earth",
    "stream": "Streams",
    "pubsub": "Publish and subscribe",
    "transactions": "Transactions",
    "scripting": "Scripts",
    "connection": "Connections",
    "server": "The server",
    "cluster": "Cluster",
}
FLAGS = ["write", "readonly", "denyoom", "admin", "pubsub", "blocking", "fast", "no_auth", "no_multi"]

NOTES = {
    "set": "all options: NX XX GET EX PX EXAT PXAT KEEPTTL",
    "setrange": "values up to 512 MiB, if the arena has room",
    "append": "values up to 512 MiB, if the arena has room",
    "expire": "NX XX GT LT",
    "pexpire": "NX XX GT LT",
    "expireat": "NX XX GT LT",
    "pexpireat": "NX XX GT LT",
    "object|freq": "as in Redis, an error without an lfu policy",
    "wait": "there are no replicas: 0, once the time is over",
    "move": "always refused: there is one database",
    "select": "0 only",
    "swapdb": "0 with 0 only",
    "config|set": "lasts until the cache process ends",
    "shutdown": "as SIGTERM; under the agent the cache starts again at once, with its data",
    "monitor": "passwords are left out, administration too",
    "replicaof": "NO ONE only",
    "slaveof": "NO ONE only",
    "failover": "always refused: there is no replica",
    "debug": "always refused",
    "module|load": "always refused",
    "module|loadex": "always refused",
    "module|unload": "always refused",
    "memory|doctor": "in its own words",
    "latency|doctor": "in its own words",
    "client|setinfo": "of Redis 7.2, since clients send it unasked",
}

HEAD = """# What the cache understands

RESP2 and RESP3 (`HELLO 3`), pipelines and inline commands. Replies and errors are those of Redis 7.0.15; the tests send
the same calls to a real redis-server and compare. There is one database, 0.

The tables are generated from the engine's own command table by
`python -m tests.core_cache.commands_page > docs/commands.md`; do not edit. _Arguments_ counts the command's name too,
as COMMAND INFO does: `3` means exactly three words, `2+` two or more. _Since_ is the version of Redis that brought the
command.
"""

MISSING = """## Not there

What Redis 7.0.15 has besides. These are answered with Redis' own error for an unknown command or subcommand, and the
connection stays.

"""


class Catalogue:
    """All commands of a fresh engine, with what COMMAND INFO and COMMAND DOCS say about each."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(str(Path(folder) / "arena"), 16 << 20, "s3fifo")
            connection = Connection(engine)
            self.infos: dict[str, list[Any]] = {}
            self._add(decode(connection.feed(encode([b"COMMAND"]))))
            asked = [b"COMMAND", b"DOCS", *(name.encode() for name in self.infos)]
            flat = decode(connection.feed(encode(asked)))
            self.docs = {
                name.decode(): {key.decode(): value for key, value in zip(doc[::2], doc[1::2], strict=True)}
                for name, doc in zip(flat[::2], flat[1::2], strict=True)
            }
            engine.close()

    def _add(self, infos: list[Any]) -> None:
        for info in infos:
            self.infos[info[0].decode()] = info
            self._add(info[9])

    def group(self, name: str) -> str:
        """The group of a command; a subcommand belongs to that of its command."""
        return str(self.docs[name.partition("|")[0]]["group"].decode())

    def row(self, name: str) -> str:
        """A command's row in the table of its group."""
        info, doc = self.infos[name], self.docs[name]
        arity = f"{info[1]}" if info[1] > 0 else f"{-info[1]}+"
        flags = {flag.decode() for flag in info[2]}
        notes = [flag for flag in FLAGS if flag in flags]
        if name in NOTES:
            notes.append(NOTES[name])
        summary, since, complexity = (doc[key].decode().rstrip(".") for key in ("summary", "since", "complexity"))
        cells = [f"`{shown(name)}`", arity, since, summary, complexity, ", ".join(notes)]
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def shown(name: str) -> str:
    """A command's name as people write it."""
    return name.replace("|", " ").upper()


def missing(catalogue: Catalogue) -> list[str]:
    """Commands of Redis 7.0 that the engine has not; of a missing container only the container itself."""
    names = [name for group in REDIS_COMMANDS.values() for name in group]
    return [
        name for name in names if name not in catalogue.infos and name.partition("|")[0] in {name, *catalogue.infos}
    ]


def page() -> str:
    """The whole of docs/commands.md."""
    catalogue = Catalogue()
    parts = [HEAD]
    for group, title in TITLES.items():
        names = sorted(name for name in catalogue.infos if catalogue.group(name) == group)
        if not names:
            continue
        parts.append(f"\n## {title}\n\n")
        parts.append("| command | arguments | since | what it does | complexity | flags and notes |\n")
        parts.append("| --- | --- | --- | --- | --- | --- |\n")
        parts += [catalogue.row(name) + "\n" for name in names]
    parts.append("\n" + MISSING)
    absent = set(missing(catalogue))
    for group, names in REDIS_COMMANDS.items():
        if listed := [f"`{shown(name)}`" for name in names if name in absent]:
            parts.append(f"- {TITLES[group]}: {' '.join(listed)}\n")
    return "".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
