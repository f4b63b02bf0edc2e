"""Finished pieces: taken over when they fit, dropped when they don't, believed only when whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geryon import atomic
from geryon.errors import MachineError
from geryon.events import Warned
from geryon.store import parts
from geryon.store.parts import Parts

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(st.sampled_from([np.uint8, np.int64, np.float32, bool]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_return(tmp_path_factory, array) -> None:  # type: ignore[no-untyped-def]
    with Parts(tmp_path_factory.mktemp("s"), "k") as piece:
        piece.keep("tile-1", {"nuclei": {"xy": array, "other": ARRAY.T}, "glands": {}})
        back = piece.read("tile-1", "nuclei")
        assert piece.read("tile-1", "glands") == {}
    assert set(back) == {"xy", "other"}
    assert back["xy"].dtype == array.dtype and back["xy"].flags.writeable
    np.testing.assert_array_equal(back["xy"], array)
    np.testing.assert_array_equal(back["other"], ARRAY.T)


def test_a_resumed_run_takes_over_and_a_finished_one_leaves_nothing(tmp_path: Path) -> None:
    with Parts(tmp_path, "key") as first:
        first.keep("b", {"s": {"x": ARRAY}})
        first.keep("a", {"s": {"x": ARRAY}})
    with Parts(tmp_path, "key") as second:
        assert second.names() == ["a", "b"] and second.has("a") and not second.has("c")
        np.testing.assert_array_equal(second.read("b", "s")["x"], ARRAY)
        second.drop("b")
        assert second.names() == ["a"]
        second.finish()
    assert list(tmp_path.iterdir()) == []


def test_parts_of_another_key_are_dropped_and_said_so(tmp_path: Path) -> None:
    told: list[object] = []
    with Parts(tmp_path, "one", tell=told.append) as first:
        first.keep("a", {"s": {"x": ARRAY}})
    assert told == []
    with Parts(tmp_path, "two", tell=told.append) as second:
        assert second.names() == []
    assert len(told) == 1 and isinstance(told[0], Warned) and "1 parts" in told[0].text


def test_parts_without_a_key_are_not_believed(tmp_path: Path) -> None:
    with Parts(tmp_path, "one") as first:
        first.keep("a", {"s": {"x": ARRAY}})
    (tmp_path / ".parts" / "key").unlink()
    with Parts(tmp_path, "one") as second:
        assert second.names() == []


@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_part_cut_anywhere_counts_as_missing(tmp_path: Path, at: float) -> None:
    with Parts(tmp_path, "k") as first:
        first.keep("a", {"s": {"x": ARRAY}, "t": {"y": ARRAY}})
    path = tmp_path / ".parts" / "a.part"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * at)])
    with Parts(tmp_path, "k") as second:
        assert not second.has("a") and second.names() == []
        with pytest.raises(KeyError):
            second.read("a", "s")
        second.keep("a", {"s": {"x": ARRAY}})
        assert second.has("a")


def test_a_flipped_bit_counts_as_missing(tmp_path: Path) -> None:
    with Parts(tmp_path, "k") as first:
        first.keep("a", {"s": {"x": np.zeros(1000, np.uint8)}})
    path = tmp_path / ".parts" / "a.part"
    spoilt = bytearray(path.read_bytes())
    spoilt[600] ^= 4
    path.write_bytes(spoilt)
    with Parts(tmp_path, "k") as second:
        assert not second.has("a")


def test_a_section_is_checked_when_it_is_read(tmp_path: Path) -> None:
    """Also of a piece that was whole when it was kept or looked at."""
    with Parts(tmp_path, "k") as piece:
        piece.keep("a", {"spoilt": {"x": np.zeros(1000, np.uint8)}, "good": {"x": ARRAY}})
        path = tmp_path / ".parts" / "a.part"
        spoilt = bytearray(path.read_bytes())
        spoilt[600] ^= 4
        path.write_bytes(spoilt)
        np.testing.assert_array_equal(piece.read("a", "good")["x"], ARRAY)
        with pytest.raises(KeyError):
            piece.read("a", "spoilt")
        with pytest.raises(KeyError):
            piece.read("a", "never kept")
        assert not piece.has("a")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE])
def test_a_machine_that_can_not_read_is_no_damaged_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with Parts(tmp_path, "k") as piece:
        piece.keep("a", {"s": {"x": ARRAY}})

        def refused(*args: object, **more: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(zipfile, "ZipFile", refused)
            with pytest.raises(MachineError, match=f"reading a finished part failed: {os.strerror(number)}"):
                piece.read("a", "s")
        np.testing.assert_array_equal(piece.read("a", "s")["x"], ARRAY)


def test_no_objects_of_python_are_written(tmp_path: Path) -> None:
    with Parts(tmp_path, "k") as piece:
        with pytest.raises(ValueError, match="object"):
            piece.keep("a", {"s": {"x": np.array([{}], object)}})
        assert not piece.has("a")


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Parts(tmp_path, "k") as piece:
        piece.keep("a", {"s": {"x": ARRAY}})

        def full(*args: object, **more: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "writestr", full)
            with pytest.raises(MachineError, match="free some space"):
                piece.keep("b", {"s": {"x": ARRAY}})
        assert piece.names() == ["a"]
        assert not [p for p in piece.folder.iterdir() if p.name.endswith(".writing")]


def test_a_second_process_is_told_who_works_here(tmp_path: Path) -> None:
    with Parts(tmp_path, "k") as first:
        first.keep("a", {"s": {"x": ARRAY}})
        code = (
            f"from geryon.store.parts import Parts; from pathlib import Path; Parts(Path({str(tmp_path)!r}), 'other')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert (
            f"MachineError: {tmp_path}: process {os.getpid()} on {atomic.host()} is working on this slide"
            in done.stderr
        )
        assert first.names() == ["a"]
    with Parts(tmp_path, "k") as again:
        assert again.names() == ["a"]


def write_lock(folder: Path, *, age: float = 0.0, **holder: object) -> Path:
    lock = folder / ".parts" / "lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps(holder) if holder else "")
    stamp = lock.stat().st_mtime - age
    os.utime(lock, (stamp, stamp))
    return lock


def test_stale_locks_are_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    me = os.getpid()
    for holder, age in (
        ({"host": atomic.host(), "pid": gone.pid, "token": "?"}, 0.0),
        ({"host": atomic.host(), "pid": me, "token": f"{atomic.host()} {me} 1"}, 0.0),  # my number, another process
        ({"host": "elsewhere", "pid": 1, "token": "?"}, 3600.0),
        ({}, 60.0),
    ):
        lock = write_lock(tmp_path, age=age, **holder)
        with Parts(tmp_path, "k"):
            assert json.loads(lock.read_text())["token"] == parts._token()
        assert [p.name for p in lock.parent.iterdir()] == ["key"]


@pytest.mark.parametrize("holder", [{"host": "elsewhere", "pid": 1, "token": "?"}, {}])
def test_live_locks_are_not(tmp_path: Path, holder: dict[str, object]) -> None:
    lock = write_lock(tmp_path, **holder)
    before = lock.read_text()
    with pytest.raises(MachineError, match="elsewhere|another process"):
        Parts(tmp_path, "k")
    assert lock.read_text() == before


def test_a_fresh_lock_is_not_set_aside_for_a_stale_one(tmp_path: Path) -> None:
    lock = write_lock(tmp_path, host="elsewhere", pid=2, token="new")
    parts._set_aside(lock, {"host": "elsewhere", "pid": 1, "token": "old"})
    assert json.loads(lock.read_text())["token"] == "new"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user without all rights")
def test_no_permission_is_a_machine_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MachineError, match="--out"):
            Parts(tmp_path, "k")
    finally:
        tmp_path.chmod(0o700)
