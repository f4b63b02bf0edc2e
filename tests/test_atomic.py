"""One way to write a file: nothing half written ever has the name that was asked for."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geryon import atomic
from geryon.errors import MachineError
from geryon.flows.picture import save_picture
from geryon.nets.weights import ModelDocument, TaskDocument, save_model, write_card
from geryon.train.curves import rewind
from geryon.train.overlays import write_jpeg
from geryon.train.pack import write_pack
from tests.conftest import ROOT

DOCUMENT = ModelDocument(name="m", version="1", topology="geryon-s", tasks=(TaskDocument(name="lumina"),))
IMAGE = np.zeros((8, 8, 3), np.uint8)
WRITERS: dict[str, Callable[[Path], object]] = {
    "model": lambda path: save_model(path, {"x": np.zeros(2, np.float32)}, DOCUMENT),
    "card": lambda path: write_card(path, DOCUMENT),
    "pack": lambda path: write_pack(path, [], ()),
    "picture": lambda path: save_picture(IMAGE, path),
    "overlay": lambda path: write_jpeg(path, IMAGE),
    "curve": lambda path: rewind(path, 3),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.out"
    path.write_text("step\n1\n")

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    with pytest.raises(MachineError, match="No space left"):
        WRITERS[kind](path)
    assert path.read_text() == "step\n1\n" and list(tmp_path.iterdir()) == [path]


def test_the_way_is_written_down_once() -> None:
    files = sorted((ROOT / "src" / "geryon").rglob("*.py"))
    renaming = [p.name for p in files if re.search(r"os\.(replace|rename)\(|\.replace\((path|out\b)", p.read_text())]
    assert [name for name in renaming if name != "parts.py"] == ["atomic.py"]


def test_room_is_taken_where_the_disk_can_not_promise_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(atomic, "RESERVE_BYTES", 1000)
    for name in ("promised", "refused", "absent"):
        if name == "refused":
            monkeypatch.setattr(os, "posix_fallocate", refuses, raising=False)
        elif name == "absent":
            monkeypatch.delattr(os, "posix_fallocate", raising=False)
        with (tmp_path / name).open("wb") as file:
            file.write(b"head")
            atomic.reserve(file, 2500)
        assert (tmp_path / name).read_bytes() == b"head" + bytes(2500)


@pytest.mark.parametrize("room", [0, 10, 100])
def test_a_library_learns_nothing_of_a_full_disk_and_the_caller_does(tmp_path: Path, room: int) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(MachineError, match="writing failed"), atomic.whole_file_of(tmp_path / "a") as file:
            assert file.write(bytes(60)) == 60 and file.write(np.zeros(9)) == 72
            file.truncate(200)
            raise ValueError("the library found no sense in it")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    with atomic.whole_file_of(tmp_path / "a") as file:
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
