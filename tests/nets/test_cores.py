"""How many cores the control groups of a process grant, as Linux tells it in files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from geryon.nets import cores

V2, V1, DOCKER = "0::{}\n", "5:memory:/m\n4:cpu,cpuacct:{}\n1:cpuset:{}\n", "/docker/3f"
GROUPS = {
    "the top of version 2": (V2.format("/"), {"cpu.max": "200000 100000\n"}, 2.0),
    "no limit": (V2.format("/"), {"cpu.max": "max 100000\n"}, math.inf),
    "half a core more": (V2.format("/"), {"cpu.max": "150000 100000\n"}, 1.5),
    "a group of its own": (V2.format("/a/b"), {"cpu.max": "max 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3.0),
    "the group above its own": (V2.format("/a/b"), {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 9\n"}, 2.0),
    "a group of others": (V2.format("/a"), {"other/cpu.max": "100000 100000\n"}, math.inf),
    "a path outside the container": (V2.format("/../../x"), {"cpu.max": "200000 100000\n"}, 2.0),
    "version 1": (
        V1.format(DOCKER, DOCKER),
        {"cpu,cpuacct/docker/3f/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/docker/3f/cpu.cfs_period_us": "100000\n"},
        4.0,
    ),
    "version 1 as a container sees it": (
        V1.format(DOCKER, DOCKER),
        {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        2.0,
    ),
    "version 1 without a limit": (
        V1.format("/", "/"),
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
    "version 2 beside version 1": (
        V1.format("/", "/") + V2.format("/a"),
        {"unified/a/cpu.max": "max 100000", "cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"},
        3.0,
    ),
    "half a file": (V2.format("/"), {"cpu.max": "200000"}, math.inf),
    "no list of groups": (None, {"cpu.max": "200000 100000\n"}, 2.0),
    "no control groups": (None, {}, math.inf),
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_quota_is_the_least_of_all_groups_around_the_process(name: str, tmp_path: Path) -> None:
    told, files, granted = GROUPS[name]
    files = {f"sys/fs/cgroup/{path}": text for path, text in files.items()}
    if told is not None:
        files["proc/self/cgroup"] = told
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert cores.quota(tmp_path) == granted


@pytest.mark.parametrize(("granted", "usable"), [(math.inf, 64), (100.0, 64), (2.0, 2), (1.5, 1), (0.5, 1)])
def test_whole_cores_are_used_and_one_at_least(granted: float, usable: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(cores, "quota", lambda root: granted)
    assert cores.usable_cores() == usable
