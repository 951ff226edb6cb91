"""What pip leaves of an installed package with plugins: the metadata that agents find them by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path,
    distribution: str,
    plugins: Mapping[str, str],
    *,
    stem: str = "",
    version: str = "1.0",
    readme: str = "",
) -> Path:
    """Makes a folder that, on an agent's PYTHONPATH, has it find these plugins (name → "module:Class"); gives it.

    Several packages may lie in one folder. stem: of the name of the metadata's folder, where it is not the
    distribution's. The modules themselves are the caller's.
    """
    metadata = site / f"{stem or distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\n{readme}")
    points = "".join(f"{name} = {place}\n" for name, place in plugins.items())
    (metadata / "entry_points.txt").write_text(f"[predis_agent.plugins]\n{points}")
    return site
