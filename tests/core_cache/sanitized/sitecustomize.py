"""Has every Python process under `make sanitize` load the engine that was built with the sanitizers.

Python imports this module at its start, since tests/core_cache/sanitize.py puts this folder into PYTHONPATH. Children
find it by the interpreter that sys.executable names here: a script that puts the sanitizers' runtime and this folder
back in place, which other programs (redis-server, node, a compiler) are not to be started with.
"""

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

NAME = "core_cache._native"


class _SanitizedEngine(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        if fullname != NAME:
            return None
        loader = importlib.machinery.ExtensionFileLoader(NAME, os.environ["PREDIS_SANITIZED_ENGINE"])
        return importlib.util.spec_from_file_location(NAME, loader.path, loader=loader)


# This runtime does not look at log_path by itself.
ctypes.CDLL("libubsan.so.1").__sanitizer_set_report_path(os.environ["PREDIS_SANITIZED_REPORT"].encode())
sys.meta_path.insert(0, _SanitizedEngine())
os.environ.pop("LD_PRELOAD", None)
os.environ["ASAN_OPTIONS"] = os.environ["ASAN_OPTIONS"].removeprefix("detect_leaks=0:")  # native tests look for leaks
sys.executable = os.environ["PREDIS_SANITIZED_PYTHON"]
