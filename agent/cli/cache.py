"""`predis-agent cache …`: commands for the cache that the agent hosts, or for any other Redis-compatible server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.models import models_command
from agent.cli.options import ConfigOption, DebugOption, JsonOption, SetOption, load
from agent.cli.snapshot import snapshot_command
from agent.cli.upgrade import upgrade_command
from agent.config.models import Config
from agent.errors import PredisError
from core_cache.resp_client import Address, ConnectionFailed, RespClient, RespError, ServerError, describe

if TYPE_CHECKING:
    from rich.progress import Progress

    from core_cache.replay import Latencies, ReplayResult

app = typer.Typer(no_args_is_help=True, help="Commands for the hosted cache, or any Redis-compatible server.")
app.command("upgrade")(upgrade_command)
app.command("snapshot")(snapshot_command)
app.command("models")(models_command)


@app.callback()
def cache() -> None:
    """Commands for the hosted cache, or any Redis-compatible server."""


@app.command("replay")
def replay_command(
    trace: Annotated[Path, typer.Argument(help="An .npz with the arrays key and size, or a CSV with these columns.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    host: Annotated[str | None, typer.Option(help="Server to replay against; default: the agent's cache.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Its TCP port.")] = None,
    unix_socket: Annotated[Path | None, typer.Option(help="Its unix socket, instead of host and port.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File that holds its password.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many accesses.")] = None,
    pipeline: Annotated[int, typer.Option(min=1, max=1000, help="Most accesses per round trip.")] = 1,
    value_size: Annotated[str, typer.Option(help="Bytes per value, or auto: as in the trace.")] = "auto",
    prefix: Annotated[str | None, typer.Option(help="Put before every key; default: the trace's name.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Replay an access trace: GETs, and a SET after each miss; then hit ratio, throughput and latencies."""
    from core_cache import replay  # brings numpy, which no other command needs

    size = _value_size(value_size)
    try:
        accesses = replay.load_trace(trace)
    except replay.TraceError as error:
        raise PredisError(str(error)) from error
    if limit is not None:
        accesses = accesses.first(limit)
    if size is not None:
        accesses = accesses.with_size(size)

    prefix = f"{trace.stem}:" if prefix is None else prefix
    settings = load(config, overrides).config
    address, password = _target(settings, host, port, unix_socket, password_file)
    with _connect(address, password) as client:
        server = _server_name(client)
        with _progress(len(accesses), hidden=as_json) as report:
            try:
                result = replay.replay(accesses, client, pipeline=pipeline, prefix=prefix, progress=report)
            except RespError as error:
                raise PredisError(f"the replay stopped: {error}") from error
    if as_json:
        answer = {"trace": str(trace), "server": server, "address": describe(address), **result.as_dict()}
        typer.echo(json.dumps(answer, indent=2))
    else:
        _show(result, f"{trace.name} against {server} at {describe(address)}")


def _value_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) > 512 * 1024 * 1024:
        raise PredisError(f"--value-size {text}: expected auto or a number of bytes up to 536870912")
    return int(text)


def _target(
    settings: Config, host: str | None, port: int | None, unix_socket: Path | None, password_file: Path | None
) -> tuple[Address, str | None]:
    """Where to connect and with which password. The agent's own password goes to the agent's own cache only."""
    if unix_socket is not None and (host is not None or port is not None):
        raise PredisError("--unix-socket stands in place of --host and --port: give one or the other")
    own: set[Address] = {settings.unix_socket, (settings.cache.host, settings.cache.port)}
    address: Address
    if unix_socket is not None:
        address = unix_socket
    elif host is not None or port is not None:
        address = (host or settings.cache.host, port or settings.cache.port or 6379)
    else:
        address = settings.unix_socket
    if password_file is not None:
        return address, _read_password(password_file)
    own_password = settings.agent.data_dir / "cache.password"
    if address in own and settings.cache.auth and own_password.exists():
        return address, _read_password(own_password)
    return address, None


def _read_password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PredisError(f"password file {path}: {reason}") from error


def _connect(address: Address, password: str | None) -> RespClient:
    try:
        client = RespClient(address, password, timeout=30.0)
        try:
            client.command("PING")
        except RespError:
            client.close()
            raise
        return client
    except ConnectionFailed as error:
        raise PredisError(
            f"{error}; start the agent (predis-agent run), or name another server with --host and --port"
        ) from error
    except ServerError as error:
        if error.code == "NOAUTH":
            mend = "it wants a password: name the file that holds it with --password-file"
        elif error.code in ("WRONGPASS", "ERR") and password is not None:
            mend = "name the right password's file with --password-file"
        else:
            mend = "nothing was replayed"
        raise PredisError(f"{describe(address)} answered {str(error)!r}; {mend}") from error
    except RespError as error:
        raise PredisError(str(error)) from error


def _server_name(client: RespClient) -> str:
    """The server's name and version from INFO; "a Redis-compatible server" where it does not say."""
    try:
        fields = client.information("server")
    except ServerError:
        fields = {}
    for key, name in (("predis_version", "Predis"), ("valkey_version", "Valkey"), ("redis_version", "Redis")):
        if key in fields:
            return f"{name} {fields[key]}"
    return "a Redis-compatible server"


def _progress(total: int, *, hidden: bool) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """A bar on the terminal's stderr with rate and running hit ratio; nothing where stderr is no terminal."""
    if hidden or not sys.stderr.isatty():
        return nullcontext(None)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("replaying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("hit ratio {task.fields[ratio]:.4f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    return _Bar(bar, total)


class _Bar:
    """Feeds a Rich progress bar with what replay() reports."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total, rate=0.0, ratio=0.0)

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _update(self, done: int, hits: int) -> None:
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = done / elapsed if elapsed else 0.0
        self._bar.update(self._task, completed=done, rate=rate, ratio=hits / done if done else 0.0)


def _show(result: ReplayResult, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(title, style="bold", soft_wrap=True)
    warm = f", of them {result.warm_hits:,} on values stored before" if result.warm_hits else ""
    lines = [
        ("hit ratio", f"{result.hit_ratio:.4f}  ({result.hits:,} hits{warm}; {result.misses:,} misses)"),
        ("accesses", f"{result.accesses:,} to {result.unique_keys:,} keys in {result.seconds:,.2f} s"),
        ("throughput", f"{result.accesses_per_second:,.0f} accesses/s, {result.pipeline} per round trip at most"),
        ("stored", f"{result.stored_bytes:,} bytes"),
    ]
    lines += [("refused", f"{count:,} SETs with {code}") for code, count in sorted(result.refused.items())]
    for name, text in lines:
        console.print(f"  {name:<11} {text}", soft_wrap=True)
    table = Table("latency, ms", "calls", *result.get.seconds, box=None, padding=(0, 0, 0, 2))
    for column in table.columns[1:]:
        column.justify = "right"
    for command, latencies in (("GET", result.get), ("SET", result.set)):
        if latencies.calls:
            table.add_row(command, f"{latencies.calls:,}", *_milliseconds(latencies))
    console.print(table)


def _milliseconds(latencies: Latencies) -> list[str]:
    return [f"{seconds * 1000:.3f}" for seconds in latencies.seconds.values()]
