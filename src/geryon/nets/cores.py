"""What this machine is: how many cores may be used, what they multiply fast, whether there may be a card."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path


def has_amx() -> bool:
    """True where the processor has AMX tiles for bfloat16."""
    return "amx_bf16" in _flags()


def has_vnni() -> bool:
    """True where the processor multiplies bytes four at a time (VNNI): in eight bits it is far faster than in float."""
    return not _flags().isdisjoint({"avx512_vnni", "avx_vnni"})


def _flags() -> set[str]:
    """What Linux says that the processor can; nothing on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        return set()


def usable_cores() -> int:
    """Cores that this process may use: by its affinity and by its control groups' quota, of which whole cores count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, quota(Path("/")))))


def quota(root: Path) -> float:
    """Cores that the control groups of this process grant, math.inf where none sets a limit.

    Those above its own count too. `root` is where /proc and /sys lie. A container may not see its group under the path
    that /proc tells, but at the top: folders that are absent set no limit. Linux, cgroup-v2.rst (cpu.max) and
    sched-bwc.rst (cpu.cfs_quota_us of version 1).
    """
    every = [math.inf]
    for line in _lines(root / "proc/self/cgroup") or ["0::/", "1:cpu:/"]:
        controllers, _, path = line.partition(":")[2].partition(":")
        inside = [name for name in path.split("/") if name not in ("", "..")]
        for hierarchy in _hierarchies(controllers):
            group = root / "sys/fs/cgroup" / hierarchy
            every += [_granted(group.joinpath(*inside[:depth])) for depth in range(len(inside) + 1)]
    return min(every)


def _hierarchies(controllers: str) -> tuple[str, ...]:
    """Folders in which groups of these controllers are mounted: version 2 names none, and may lie beside version 1."""
    if not controllers:
        return ("", "unified")
    return ("cpu", "cpu,cpuacct", "cpuacct,cpu") if "cpu" in controllers.split(",") else ()


def _granted(group: Path) -> float:
    told = _lines(group / "cpu.max") or _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")
    try:
        granted_us, period_us = map(int, " ".join(told).split())
    except ValueError:  # "max", or no such files
        return math.inf
    return granted_us / period_us if granted_us > 0 and period_us > 0 else math.inf


def _lines(path: Path) -> list[str]:
    """Of a file of the kernel's; none where it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def has_cuda_driver() -> bool:
    """True where NVIDIA's driver is installed: only then is it worth the seconds to ask torch for a card."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True
