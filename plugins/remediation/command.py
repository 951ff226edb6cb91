"""run.command: a program that the configuration allows, without a shell and with next to no environment."""

from __future__ import annotations

import os
import re
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import Field

from agent.api import Outcome, Plan, PredisError, Scrubber, Task, WrongKey
from plugins.remediation.action import NOT_BEGUN, Action, Params, hold_to, must_have, pick
from plugins.remediation.config import PLACEHOLDER, Command
from plugins.remediation.notes import Notes
from plugins.remediation.trusted import check_program

_LOOK = 0.1  # seconds between two looks at whether somebody still waits
_SPARE = 4096  # bytes that are read beyond what is shown, for a secret that lies across the end
_LONGEST = 4096  # characters of a variable
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandParams(Params):
    """run.command. about: what it works on, KIND:NAME, where that is not the command as such."""

    command: str = Field(examples=["restart"])
    arguments: dict[str, str] = Field(default={})
    about: str = Field(default="", pattern=r"^([a-z_]+:[^\s]+)?$")


class RunCommand(Action):
    """Runs it in a session of its own, which is killed as a whole when its time is over or nobody waits for it.

    A command that was begun and of which nobody knows how it ended is not begun again, unless it is `repeatable`.
    """

    name = "run.command"
    help = "Runs a program that the configuration allows, without a shell."
    Params = CommandParams
    deadline = 120.0

    def __init__(self, commands: Mapping[str, Command]) -> None:
        self._commands = commands

    def target(self, params: CommandParams) -> str:
        return params.about or f"command:{params.command}"

    def check(self, params: CommandParams) -> None:
        must_have("command", "command", "commands", self._commands, params.command)
        self._argv(params, self._find(params))

    def plan(self, params: CommandParams, task: Task) -> str:
        command = self._find(params)
        argv = self._argv(params, command)
        _check(Path(argv[0]), command)
        return Plan(f"would run {shlex.join(argv)}", _facts(argv, command))

    def run(self, params: CommandParams, task: Task) -> Outcome:
        command = self._find(params)
        argv = self._argv(params, command)
        _check(Path(argv[0]), command)
        notes = Notes(task.host.data_dir)
        if (noted := notes.read(task.intent)) is not None:
            if noted["state"] == "ended":
                return Outcome(bool(noted["done"]), str(noted["how"]))
            if noted["state"] == "begun" and not command.repeatable:
                raise PredisError(f"{params.command} was begun, and nobody knows how it ended: it is not begun again")
        hold_to(task, _facts(argv, command), f"the command {params.command}")
        notes.write(task.intent, {"state": "begun"})
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=command.folder or "/",
                env=_environment(command, task),
                start_new_session=True,
                umask=0o077,
            )
        except OSError as error:
            notes.write(task.intent, {"state": "not begun"})
            raise PredisError(f"{argv[0]} cannot be started: {error.strerror or error}") from None
        output, end = _watch(process, command, task)
        shown = self._shown(output, command, task)
        status = process.returncode
        how = end or (f"ended with status {status}" if status >= 0 else f"was killed by {signal.Signals(-status).name}")
        done = not end and status == 0
        detail = f"{params.command} {how}" + (f"; it wrote: {shown}" if shown else "")
        notes.write(task.intent, {"state": "ended", "done": done, "how": f"{params.command} {how}"})
        return Outcome(done, detail)

    def done_before(self, params: CommandParams, task: Task) -> Outcome | None:
        noted = Notes(task.host.data_dir).read(task.intent)
        if noted is None or noted["state"] == "not begun":
            return NOT_BEGUN
        if noted["state"] == "ended":
            return Outcome(bool(noted["done"]), str(noted["how"]))
        if self._find(params).repeatable:
            return Outcome(False, f"{params.command} was begun, and nobody knows how it ended; it may run again")
        return None

    def _find(self, params: CommandParams) -> Command:
        return pick("command", "commands", self._commands, params.command)

    @staticmethod
    def _argv(params: CommandParams, command: Command) -> list[str]:
        if params.arguments.keys() != command.arguments.keys():
            odd = ", ".join(sorted(params.arguments.keys() ^ command.arguments.keys()))
            raise WrongKey(
                "arguments", f"the arguments of {params.command} do not fit: {odd}; give each that it has, and no other"
            )
        for name, value in params.arguments.items():
            if "\0" in value or not re.fullmatch(command.arguments[name], value):
                raise WrongKey(
                    ("arguments", name),
                    f"{params.command} does not take this {name}: it must match {command.arguments[name]}",
                )
        argv = [PLACEHOLDER.sub(lambda found: params.arguments[found[1]], part) for part in command.argv]
        for template, part in zip(command.argv, argv, strict=True):
            if part.startswith("-") and not template.startswith("-"):  # a value must not become an option
                raise PredisError(
                    f"{params.command}: a value begins with a hyphen, so the program would read an option"
                )
        return argv

    @staticmethod
    def _shown(output: bytes, command: Command, task: Task) -> str:
        # Before anything is cut off: what is left of a secret would not be known for one.
        text = Scrubber([*_secrets(command), *_secrets_of_the_agent(task)]).text(output.decode(errors="replace"))
        return " ".join(text[: command.output].split())


def _watch(process: subprocess.Popen[bytes], command: Command, task: Task) -> tuple[bytes, str]:
    """What it wrote, as far as that is kept, and why it had to be ended, if it had to."""
    assert process.stdout is not None
    deadline, kept, end = time.monotonic() + command.timeout, bytearray(), ""
    os.set_blocking(process.stdout.fileno(), False)
    try:
        with process.stdout, selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            reading = True
            while reading or not _has_ended(process):
                if time.monotonic() > deadline:
                    end = f"took longer than {command.timeout:g} s and was killed"
                elif task.cancelled():
                    end = "was killed, since nobody waits for it any more"
                if end:
                    break
                if not reading:
                    time.sleep(_LOOK)
                elif selector.select(_LOOK):
                    piece = process.stdout.read(65536)
                    if piece == b"":
                        reading = False
                    elif piece:  # the rest is read as well: who writes must not be held up
                        kept += piece[: max(0, command.output + _SPARE - len(kept))]
                elif _has_ended(process):
                    reading = False  # what it left behind in the background has its output open still
    finally:
        _kill(process)
    return bytes(kept), end


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """It is not reaped: until it is, its number and that of its group belong to nobody else."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """It and all that it has started and that did not leave its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def _check(program: Path, command: Command) -> None:
    """Raises PredisError unless it can be run."""
    check_program(program)
    if command.folder is not None and not command.folder.is_dir():
        raise PredisError(f"{command.folder}, the folder of the command, is none")


def _facts(argv: list[str], command: Command) -> dict[str, object]:
    """What a person approved: the configuration may have another command of this name by then."""
    return {"argv": argv, "folder": str(command.folder or "/")}


def _environment(command: Command, task: Task) -> dict[str, str]:
    own = {name: value.get_secret_value() for name, value in command.environment.items()}
    about = {"PREDIS_INTENT": task.intent, "PREDIS_RULE": task.rule, "PREDIS_EVENT": task.event}
    about = {name: value.replace("\0", "")[:_LONGEST] for name, value in about.items()}
    return {"PATH": _PATH, "LANG": "C.UTF-8", **about, **own}


def _secrets(command: Command) -> Iterable[str]:
    return (value.get_secret_value() for value in command.environment.values())


def _secrets_of_the_agent(task: Task) -> Iterable[str]:
    for path in (task.host.cache.password_file, task.host.data_dir / "http.token"):
        try:
            if path is not None:
                yield path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue  # what the agent cannot read, the command has not got from it
