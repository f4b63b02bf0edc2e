"""Seconds of `import geryon` and `geryon --help` in fresh interpreters, medians. Asked (issue Speed): <= 0.3."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.machine import about, interleaved, say

CALLS = {
    "bare interpreter": ["-c", "pass"],
    "import geryon": ["-c", "import geryon"],
    "geryon --help": ["-m", "geryon", "--help"],
}


def main() -> None:
    runs = {
        name: lambda words=words: subprocess.run([sys.executable, *words], check=True, capture_output=True)
        for name, words in CALLS.items()
    }
    for name, seconds in interleaved(runs, rounds=7).items():
        say(question=name, value=round(seconds, 3), asked="<= 0.3", **about())


if __name__ == "__main__":
    main()
