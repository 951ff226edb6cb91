"""`make eval`: everything that decides, on recorded data, beside its peers.

    python -m bench.evaluation [--shared DIR] [anomaly|multivariate|cause|forecast ...]

DIR has the folders `data` and `tools` (default: ../shared beside the project).
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {
    "anomaly": lambda shared: ["--shared", shared],
    "multivariate": lambda shared: [shared / "data/anomaly/smd"],
    "cause": lambda shared: [shared / "data/rca/petshop"],
    "forecast": lambda shared: [shared / "data/forecast"],
}


def main() -> int:
    """Run them one after the other; gives 1 when one failed."""
    parser = argparse.ArgumentParser(prog="make eval", description="Evaluate what decides, on recorded data.")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data and tools")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(ARGUMENTS)}; all without it")
    given = parser.parse_args()
    if unknown := [part for part in given.parts if part not in ARGUMENTS]:
        parser.error(f"{unknown[0]}: there is no such part; choose from {', '.join(ARGUMENTS)}")
    if not (given.shared / "data").is_dir():
        parser.error(f"{given.shared} has no folder data: name the folder with the recorded data with --shared DIR")
    failed = 0
    for part in given.parts or ARGUMENTS:
        print(f"\n== {part}", flush=True)
        command = [sys.executable, "-m", f"bench.evaluation.{part}", *map(str, ARGUMENTS[part](given.shared))]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
