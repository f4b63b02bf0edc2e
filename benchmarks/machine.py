"""What all benchmarks share: one form of line, one way of timing, and what stands beside every figure."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from geryon.nets.cores import usable_cores

HEAD: dict[str, tuple[type, ...]] = {
    "benchmark": (str,),
    "question": (str,),
    "value": (int, float, type(None)),
    "unit": (str,),
    "asked": (int, float, type(None)),
    "better": (str,),
    "met": (bool, type(None)),
    "size": (dict,),
    "peak_gib": (float,),
    "machine": (dict,),
}
"""The fields that every line begins with, and what they hold. `value` is null where nothing was measured: then
`skipped` says why."""
BETTER = ("lower", "higher")
PACKAGES = (
    *("geryon", "torch", "numpy", "numba", "pyarrow", "opencv-python-headless", "openvino", "onnxruntime"),
    *("openslide-bin", "openslide-python", "tifffile", "imagecodecs", "fastslide"),
)
"""Versions that decide about speed; those that are not installed are left out."""
INSTRUCTIONS = {
    "avx2": "avx2",
    "avx512": "avx512f",
    "vnni": "avx512_vnni",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
}
"""What networks multiply with -> its flag in /proc/cpuinfo."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one call took in each round."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    """Processor seconds of all threads of this process, without its children's: other load changes them little."""

    @property
    def median(self) -> float:
        """Of the wall's clock."""
        return statistics.median(self.wall)

    @property
    def core_seconds(self) -> float:
        """The median of processor seconds."""
        return statistics.median(self.cpu)

    def each(self, units: float) -> dict[str, Any]:
        """Seconds a unit, for `say`: median, least and most, with processor seconds beside."""
        return {
            "value": self.median / units,
            "low": min(self.wall) / units,
            "high": max(self.wall) / units,
            "core_seconds": self.core_seconds / units,
            "rounds": len(self.wall),
        }

    def rate(self, units: float, *, of: str = "wall") -> dict[str, Any]:
        """Units a second, for `say`; `of` "cpu" gives units a second of one core."""
        seconds = self.wall if of == "wall" else self.cpu
        return {
            "value": units / statistics.median(seconds),
            "low": units / max(seconds),
            "high": units / min(seconds),
            "rounds": len(seconds),
        }


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Seconds]:
    """What each call took, the calls in turn so that all meet the same load, after one round that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            began, busy = perf_counter(), process_time()
            call()
            if turn:
                seconds[name].append((perf_counter() - began, process_time() - busy))
    return {name: Seconds(*zip(*each, strict=True)) for name, each in seconds.items()}


def ratio_of(one: Seconds, other: Seconds, *, of: str = "wall") -> dict[str, Any]:
    """one / other round by round, for `say`: what slows a whole round down falls out. `of` "cpu": of core seconds."""
    by = {
        "wall": [a / b for a, b in zip(one.wall, other.wall, strict=True)],
        "cpu": [a / b for a, b in zip(one.cpu, other.cpu, strict=True)],
    }
    found = {"value": statistics.median(by[of]), "low": min(by[of]), "high": max(by[of]), "rounds": len(by[of])}
    return found if of == "cpu" else {**found, "of_core_seconds": statistics.median(by["cpu"])}


def say(
    benchmark: str,
    question: str,
    *,
    value: float | None,
    unit: str,
    asked: float | None = None,
    better: str = "lower",
    size: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """One JSON line, at once. `size` says how much of what was measured: lines of one size can be compared.

    `peak_gib` is the most memory this process has held until now, its largest child's added.
    """
    met = None if value is None or asked is None else bool(value <= asked if better == "lower" else value >= asked)
    record = {
        "benchmark": benchmark,
        "question": question,
        "value": value,
        "unit": unit,
        "asked": asked,
        "better": better,
        "met": met,
        "size": dict(size or {}),
        **more,
        "peak_gib": peak_gib(),
        "machine": about(),
    }
    sys.stdout.write(json.dumps(_rounded(record), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def skip(benchmark: str, question: str, why: str, **size: Any) -> None:
    """A line in place of a figure that can't be measured here."""
    say(benchmark, question, value=None, unit="", size=size, skipped=why)


def faults(record: Any) -> list[str]:
    """What is wrong with a line, field by field; nothing for a good one."""
    if not isinstance(record, dict):
        return ["it is no object"]
    found = [f"{name} is missing" for name in HEAD if name not in record]
    wrong = [name for name, kinds in HEAD.items() if name in record and not isinstance(record[name], kinds)]
    found += [f"{name} is {record[name]!r}" for name in wrong]
    if record.get("better") not in BETTER:
        found.append(f"better is {record.get('better')!r}")
    if record.get("value") is None and "skipped" not in record:
        found.append("it has no value and does not say why")
    if "\n" in str(record.get("question")) or not record.get("question"):
        found.append("its question is not one line")
    return found


def peak_gib() -> float:
    """Most memory held by this process, its largest child's added."""
    unit = 1 if sys.platform == "darwin" else 1024
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * sum(usages) / 2**30


@cache
def about() -> dict[str, Any]:
    """Processor, its instructions, cores that may be used, memory, versions. Imports nothing heavy: peaks would show
    it."""
    return {
        "processor": _processor(),
        "instructions": instructions(),
        "cores": usable_cores(),
        "gpus": _gpus(),
        "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def instructions() -> list[str]:
    """Those of INSTRUCTIONS that the processor has."""
    flags = set(_cpuinfo("flags").split())
    return [name for name, flag in INSTRUCTIONS.items() if flag in flags]


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor()


def _gpus() -> list[str]:
    """Names of the NVIDIA cards, as the driver tells them."""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for path in told for line in path.read_text(encoding="utf-8").splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _rounded(value: Any) -> Any:
    """Floats with four figures that count; nothing measured here is known better."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
