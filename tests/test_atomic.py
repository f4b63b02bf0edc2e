"""One way to write a file: nothing half written ever has the name that was asked for."""

from __future__ import annotations

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
