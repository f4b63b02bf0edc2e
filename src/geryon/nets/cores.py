"""What this machine is: how many cores may be used, what they multiply fast, whether there may be a card."""

from __future__ import annotations

import ctypes
import os


def has_amx() -> bool:
    """True where the processor has AMX tiles for bfloat16."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return "amx_bf16" in file.read()
    except OSError:
        return False


def usable_cores() -> int:
    """Cores that this process may use: by its affinity and by the cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def has_cuda_driver() -> bool:
    """True where NVIDIA's driver is installed: only then is it worth the seconds to ask torch for a card."""
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    return True
