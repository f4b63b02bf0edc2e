"""Run every benchmark and collect their lines: python -m benchmarks.run_all [--out FILE]."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = (
    "import_time",
    "bytes_per_nucleus",
    "segment_speed",
    "tiles",
    "memory",
    "cerberus_window",
    "augment",
    "training_step",
    "accuracy",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="append the lines to this file too")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    args = parser.parse_args()
    failed = []
    for name in args.only:
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, text=True)
        sys.stdout.write(done.stdout)
        sys.stdout.flush()
        if args.out:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(done.stdout)
        if done.returncode:
            failed.append(name)
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
