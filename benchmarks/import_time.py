"""How long do `import geryon` and `geryon --help` take in a fresh interpreter?

    python -m benchmarks.import_time [--rounds 7]
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks.machine import interleaved, say

CALLS = {
    "bare interpreter": ["-c", "pass"],
    "import geryon": ["-c", "import geryon"],
    "geryon --help": ["-m", "geryon", "--help"],
}
ASKED_S = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    runs = {
        name: lambda words=words: subprocess.run([sys.executable, *words], check=True, capture_output=True)
        for name, words in CALLS.items()
    }
    for name, taken in interleaved(runs, args.rounds).items():
        timed = taken.each(1)
        del timed["core_seconds"]  # of this process, not of the interpreters that it starts
        say("import_time", name, **timed, unit="s", asked=ASKED_S if "geryon" in name else None)


if __name__ == "__main__":
    main()
