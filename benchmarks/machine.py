"""What stands beside every figure: the machine and the versions."""

from __future__ import annotations

import json
import platform
import statistics
import sys
from collections.abc import Callable
from importlib import metadata
from time import perf_counter
from typing import Any


def about() -> dict[str, Any]:
    """Processor, cores that may be used, AMX, versions."""
    from geryon.nets.cores import has_amx, usable_cores

    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "amx": has_amx(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "geryon": metadata.version("geryon"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def say(**record: Any) -> None:
    """One JSON line, at once."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, the calls in turn, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            began = perf_counter()
            call()
            if turn:
                seconds[name].append(perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}
