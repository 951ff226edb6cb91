"""`make sanitize`: the native tests, then all of tests/core_cache on an engine built with the sanitizers.

    python -m tests.core_cache.sanitize [pytest's arguments]

AddressSanitizer and UndefinedBehaviorSanitizer watch every process that loads core_cache._native, the servers that
the tests start included. A report ends its process with SIGABRT and is written to build/sanitized/reports, which must
be empty in the end, whatever the tests made of that process' death. Before the tests a report of each sanitizer is
provoked, to see that the alarm works.

Leaks are not looked for in Python processes: CPython leaves memory behind when it ends. The native tests and the fuzz
targets have no Python in them, and look for the engine's. Timeouts of tests are longer here, by PREDIS_TEST_PATIENCE
(tests/waiting.py).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitized"
REPORTS = BUILD / "reports"
PYTHON = BUILD / "python"
PATIENCE = "6"

PROVOKED = {  # what a report says, and a program that has it made
    "heap-buffer-overflow": """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
libc.memset(libc.malloc(100), 0, 101)
""",
    "unreachable program point": """
import ctypes
class Place(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char_p), ("line", ctypes.c_uint32), ("column", ctypes.c_uint32)]
ctypes.CDLL("libubsan.so.1").__ubsan_handle_builtin_unreachable(ctypes.byref(Place(b"provoked", 1, 1)))
""",
}


def build() -> Path:
    """Builds the engine with the sanitizers; gives the extension's file."""
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--sanitized"], cwd=ROOT, check=True)
    (extension,) = (BUILD / "core_cache").glob("_native.*.so")
    return extension


def runtime() -> str:
    """The libraries to preload: ASan's runtime must come before all others, and UBSan's with it."""
    libraries = ("libasan.so", "libubsan.so", "libstdc++.so")
    found = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in libraries
    ]
    missing = [name for name, path in zip(libraries, found, strict=True) if not os.path.isabs(path)]
    if missing:
        raise SystemExit(
            f"make sanitize: g++ has no {' nor '.join(missing)}: install libasan and libubsan of its version"
        )
    return ":".join(str(Path(path).resolve()) for path in found)


def environment(extension: Path) -> dict[str, str]:
    """What makes a process use the sanitized engine; see sanitized/sitecustomize.py."""
    options = f"abort_on_error=1:log_path={REPORTS}/report:log_exe_name=1:allocator_may_return_null=1"
    site = Path(__file__).parent / "sanitized"
    PYTHON.write_text(
        "#!/bin/sh\n"
        f'PYTHONPATH="{site}${{PYTHONPATH:+:$PYTHONPATH}}" LD_PRELOAD="{runtime()}" '
        f'ASAN_OPTIONS="detect_leaks=0:$ASAN_OPTIONS" exec "{sys.executable}" "$@"\n'
    )
    PYTHON.chmod(0o755)
    return {
        **os.environ,
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": f"print_stacktrace=1:{options}",
        "PYTHONMALLOC": "malloc",  # so that what lies beside a Python object is watched too
        "PREDIS_SANITIZED_ENGINE": str(extension),
        "PREDIS_SANITIZED_REPORT": f"{REPORTS}/report",
        "PREDIS_SANITIZED_PYTHON": str(PYTHON),
        "PREDIS_TEST_PATIENCE": os.environ.get("PREDIS_TEST_PATIENCE", PATIENCE),
    }


def check_alarm(settings: dict[str, str]) -> None:
    """Ends the run unless the engine is the sanitized one and a memory error leaves a report."""
    code = "import core_cache._native as native; print(native.__file__)"
    loaded = subprocess.run([PYTHON, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=True)
    if Path(loaded.stdout.strip()) != Path(settings["PREDIS_SANITIZED_ENGINE"]):
        raise SystemExit(f"make sanitize: tests would run with {loaded.stdout.strip()}")
    for report, program in PROVOKED.items():
        child = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {program!r}]).returncode == 0)"
        provoked = subprocess.run([PYTHON, "-c", child], cwd=ROOT, env=settings)
        found = [path for path in REPORTS.iterdir() if report in path.read_text()]
        if provoked.returncode != 0 or not found:
            raise SystemExit(
                f"make sanitize: '{report}' in a child process went unnoticed: nothing here can be trusted"
            )
        for path in found:
            path.unlink()


def found_in(path: Path) -> str:
    """What a report's file tells of a mistake. That memory is not given is none: some tests ask for too much of it."""
    lines = path.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if "WARNING: AddressSanitizer failed to allocate" not in line)


def main() -> int:
    """Builds, tests, and looks for reports; 0 when there is nothing to mend."""
    extension = build()
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    settings = environment(extension)
    check_alarm(settings)
    arguments = sys.argv[1:] or ["tests/core_cache"]
    timeout = f"--timeout={120 * float(settings['PREDIS_TEST_PATIENCE']):g}"
    status = subprocess.run([PYTHON, "-m", "pytest", timeout, *arguments], cwd=ROOT, env=settings).returncode
    reports = {path: text for path in sorted(REPORTS.iterdir()) if (text := found_in(path))}
    for path, text in reports.items():
        print(f"--- {path}\n{text[:6000]}", flush=True)
    if reports:
        print(f"make sanitize: {len(reports)} reports of the sanitizers, in {REPORTS}", file=sys.stderr)
        return 1
    print(f"make sanitize: no report of the sanitizers; pytest ended with {status}")
    return status


if __name__ == "__main__":
    sys.exit(main())
