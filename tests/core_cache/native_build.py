"""Builds the native tests and fuzz targets with the sanitizers, by tests/core_cache/native/Makefile.

`python -m tests.core_cache.native_build` builds all of them, as `make pytest` does beforehand: it takes minutes, for
which no single test is to answer.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NATIVE = Path(__file__).parent / "native"
JOBS = 2


def build(*programs: str) -> Path:
    """Builds programs with g++ (or what CXX names); gives their folder. What has not changed is not built again."""
    compiler = os.environ.get("CXX", "g++")
    assert shutil.which(shlex.split(compiler)[0]), "no C++ compiler: `make setup` installs one or says which"
    return _make(ROOT / "build" / "native-tests", programs, f"CXX={compiler}")


def build_fuzzers(*programs: str) -> Path:
    """The same with clang and libFuzzer, which must be installed."""
    return _make(ROOT / "build" / "fuzz", programs, "CXX=clang++", "FUZZER=1")


def _make(folder: Path, programs: tuple[str, ...], *variables: str) -> Path:
    # A make around this one has its own ideas of jobs and flags, in its environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--silent", f"--jobs={JOBS}", f"--directory={NATIVE}", f"OUT={folder}", *variables, *programs]
    subprocess.run(command, env=environment, check=True)
    return folder


if __name__ == "__main__":
    build("all")
