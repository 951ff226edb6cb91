"""The files of a new collector: it counts the files in a folder, to be replaced by what the author measures."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD, SAMPLE_HEAD

SUMMARY = "A collector for Predis Agent: the files in a folder."

PLUGIN = '''\
"""Counts the files in a folder. Replace what is measured, and keep the shape."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agent.api import ConfigPath, Host, Kind, MetricSpec, PluginConfig, Sample, hookimpl
from pydantic import Field

FILES = MetricSpec("predis_@plugin@_files", Kind.gauge, "Files in the folder.", labels=("folder",))
BYTES = MetricSpec("predis_@plugin@_bytes", Kind.gauge, "Size of the files.", "bytes", labels=("folder",))


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    folder: ConfigPath = Field(default="/tmp", validate_default=True, description="whose files are counted")


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._folder = config.folder
        self.note = ""

    @hookimpl
    def predis_metric_specs(self) -> list[MetricSpec]:
        return [FILES, BYTES]

    @hookimpl
    def predis_start(self, host: Host) -> None:
        host.logger.info("counting the files in %s", self._folder)

    @hookimpl
    def predis_collect(self) -> Iterator[Sample]:
        # On the plugin's own thread, at its interval. What it raises is counted and shown, and it is tried again.
        with os.scandir(self._folder) as entries:
            sizes = [entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file()]
        self.note = f"{len(sizes)} files in {self._folder}"
        yield Sample(FILES.name, len(sizes), (str(self._folder),))
        yield Sample(BYTES.name, sum(sizes), (str(self._folder),))
'''

SAMPLE = (
    SAMPLE_HEAD
    + """\
# Whose files are counted.
folder = "/tmp"
"""
)

README = (
    README_HEAD
    + """\

| metric | kind | labels | what it is |
| --- | --- | --- | --- |
| `predis_@plugin@_files` | gauge | `folder` | Files in the folder. |
| `predis_@plugin@_bytes` | gauge | `folder` | Size of the files. |

## Troubleshooting

`predis-agent status` shows what went wrong in the last run, such as a folder that cannot be read.
"""
)

TESTS = '''\
"""@cls@ measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent.api import Sample

from @module@.plugin import @cls@, @cls@Config


def test_it_counts_the_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "folder").mkdir()
    plugin = @cls@(@cls@Config(folder=tmp_path))
    assert list(plugin.predis_collect()) == [
        Sample("predis_@plugin@_files", 1, (str(tmp_path),)),
        Sample("predis_@plugin@_bytes", 5, (str(tmp_path),)),
    ]
    assert plugin.note == f"1 files in {tmp_path}"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    plugin = @cls@(@cls@Config(folder=tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(plugin.predis_collect())
'''
