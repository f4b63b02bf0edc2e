"""A table of slides: each row's own resolution and mask, and all faults of the table at once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.cli import main
from geryon.errors import InputError
from geryon.flows.listed import Listed, read_table
from geryon.store.run import read_run
from tests.flows.world import make_world, oracle


def table(folder: Path, text: str) -> Path:
    path = folder / "slides.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_say_what_holds_for_one_slide(tmp_path: Path) -> None:
    path = table(tmp_path, "slide,mpp,mask\na.svs,0.25,masks/a.png\n/data/b.svs,,\n")
    assert read_table(path) == (
        Listed(path=tmp_path / "a.svs", mpp=0.25, mask=tmp_path / "masks" / "a.png"),
        Listed(path=Path("/data/b.svs")),
    )


def test_a_spreadsheets_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, "\ufeffslide\na.svs\n")) == (Listed(path=tmp_path / "a.svs"),)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    path = table(tmp_path, "slide,mmp,mpp\na.svs,,fine\n,,0.5\nb.svs,,352.8\nc.svs,,1,2\n")
    with pytest.raises(InputError) as error:
        read_table(path)
    told = str(error.value)
    for part in ("'mmp'", "line 2: mpp is 'fine'", "line 3: no slide", "line 4: mpp is 352.8", "line 5: more cells"):
        assert part in told


@pytest.mark.parametrize("text", ["", "slide\n", "path\na.svs\n"])
def test_a_table_without_slides_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="slide"):
        read_table(table(tmp_path, text))


def test_the_command_takes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geryon.flows.segment_all.load_model", lambda *a, **k: oracle(make_world(256, 256, nuclei=3)))
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((256, 256, 3), 200, np.uint8))
    path = table(tmp_path, "slide,mpp\na.png,0.5\nb.png,\n")
    words = ["segment", "--table", str(path), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*words, "--mpp", "0.45"]) == 0
    assert [read_run(tmp_path / "out" / name).mpp[0] for name in ("a", "b")] == [0.5, 0.45]


def test_a_command_without_any_slide_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "--out", str(tmp_path)]) == 2
    assert "--table" in capsys.readouterr().err
