"""Builds the native extension core_cache._native; everything else about the package stands in setup.cfg.

Objects live in build/native-*, one per source file, with the compiler's own list of the headers it read, so that a
second build compiles only what has changed.

`python setup.py build_ext --sanitized` builds it for `make sanitize`, with AddressSanitizer and
UndefinedBehaviorSanitizer, into build/sanitized: the ordinary one stays as it is.
"""

import sysconfig
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path
from typing import ClassVar

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES = sorted(glob("core_cache/native/*.cpp"))
HEADERS = sorted(glob("core_cache/native/*.h"))
JOBS = 2
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def up_to_date(target: Path) -> bool:
    """Whether an object file is newer than this file and than everything its compilation read."""
    rule = target.with_suffix(".d")
    if not target.exists() or not rule.exists():
        return False
    read = rule.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    made = target.stat().st_mtime_ns
    return all(Path(name).exists() and Path(name).stat().st_mtime_ns < made for name in [*read, __file__])


class BuildNative(build_ext):
    """build_ext that compiles two files at a time and skips what is up to date."""

    user_options: ClassVar[list] = [*build_ext.user_options, ("sanitized", None, "with the sanitizers, elsewhere")]
    boolean_options: ClassVar[list] = [*build_ext.boolean_options, "sanitized"]

    def initialize_options(self) -> None:
        super().initialize_options()
        self.sanitized = False

    def finalize_options(self) -> None:
        if self.sanitized:
            self.build_lib = "build/sanitized"
        super().finalize_options()
        self.build_temp = f"build/native-{sysconfig.get_platform()}-{sysconfig.get_config_var('SOABI')}"
        if self.sanitized:
            self.build_temp = "build/sanitized/objects"

    def build_extension(self, ext: Extension) -> None:
        if self.sanitized:
            # -O1 after -O3: the last one counts. Frame pointers are for the reports' call stacks.
            ext.extra_compile_args += [*SANITIZERS, "-O1", "-fno-omit-frame-pointer"]
            ext.extra_link_args += SANITIZERS
        compile_all = self.compiler.compile

        def compile_changed(sources, output_dir=None, **options):
            objects = [Path(name) for name in self.compiler.object_filenames(sources, output_dir=output_dir)]
            changed = [
                source for source, target in zip(sources, objects, strict=True) if self.force or not up_to_date(target)
            ]
            with ThreadPoolExecutor(JOBS) as pool:
                list(pool.map(lambda source: compile_all([source], output_dir=output_dir, **options), changed))
            return [str(target) for target in objects]

        self.compiler.compile = compile_changed
        try:
            super().build_extension(ext)
        finally:
            self.compiler.compile = compile_all


setup(
    ext_modules=[
        Extension(
            "core_cache._native",
            sources=SOURCES,
            depends=[*HEADERS, "setup.py"],
            language="c++",
            extra_compile_args=["-std=c++20", "-O3", "-g1", "-fvisibility=hidden", "-Wall", "-Wextra", "-MMD"],
        )
    ]
    if SOURCES
    else [],
    cmdclass={"build_ext": BuildNative},
)
