"""Many slides over several processes, as over several cards: same files, one table of failures."""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon import events
from geryon.cli import main
from geryon.errors import MachineError, SomeFailedError, UsageError
from geryon.flows import segment_all as module
from geryon.flows.listed import Listed
from geryon.flows.segment import Options
from geryon.flows.segment_all import segment_all
from geryon.nets.engines import cuda
from geryon.slides.synthetic import SyntheticSlide
from geryon.store.features import open_volume
from geryon.store.run import is_whole


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Three small pictures of tissue and a file that is none."""
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    for seed, path in enumerate(paths[:3]):
        drawn = SyntheticSlide(width_um=64, height_um=64, seed=seed)
        cv2.imwrite(str(path), drawn.render(drawn.frame.box)[..., ::-1])
    paths[3].write_bytes(b"no picture")
    return paths


ONE, TWO = (Options(mpp=0.5, use_mask=False, engine=engine) for engine in ("cpu", "cpu,cpu"))


def test_processes_share_the_slides_and_the_files_are_those_of_one(slides: list[Path], tmp_path: Path) -> None:
    told: list[events.Event] = []
    listed = [Listed(path=slides[0], mpp=0.45), *(Listed(path=path) for path in slides[1:])]
    with pytest.raises(SomeFailedError, match="1 of 4 inputs failed, the others are done"):
        segment_all(
            listed, out=tmp_path / "two", tasks=["nuclei"], options=replace(TWO, features=True), tell=told.append
        )
    assert "d.png" in (tmp_path / "two" / "failures.csv").read_text(encoding="utf-8")
    assert sum(isinstance(e, events.Advanced) and e.stage == "slides" for e in told) == 4
    assert any(isinstance(e, events.Warned) and "failed" in e.text for e in told)
    assert [type(e) for e in told if not isinstance(e, (events.Warned, events.Advanced))] == [
        events.Started,
        events.Finished,
    ]

    records = segment_all(listed[:3], out=tmp_path / "one", tasks=["nuclei"], options=replace(ONE, features=True))
    assert [record.mpp[0] for record in records] == [0.45, 0.5, 0.5]
    assert sum(record.tasks["nuclei"].objects for record in records) > 0
    for name in "abc":
        assert is_whole(tmp_path / "two" / name)
        one, two = (np.fromfile(tmp_path / f / name / "objects" / "nuclei.parquet", np.uint8) for f in ("one", "two"))
        assert np.array_equal(one, two)
        one, two = (open_volume(tmp_path / f / name).bag()[0] for f in ("one", "two"))
        assert len(one) and np.array_equal(one, two)


def test_a_wrong_question_is_refused_before_any_process_starts(
    slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "process_each", None)
    with pytest.raises(UsageError, match="no task 'bones'"):
        segment_all(slides, out=tmp_path / "out", tasks=["bones"], options=TWO)
    twin = tmp_path / "x" / "a.png"
    with pytest.raises(UsageError, match="same name"):
        segment_all([slides[0], twin], out=tmp_path / "out", options=TWO)


@pytest.mark.parametrize("slides_asked", [1, 3])
def test_every_engine_is_looked_at_before_any_process_starts(
    slides: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slides_asked: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "process_each", None)
    monkeypatch.setattr(cuda, "cards", lambda: ("cuda:0", "cuda:1"))
    words = ["segment", *map(str, slides[:slides_asked]), "--out", str(tmp_path / "out"), "--mpp", "0.5", "--quiet"]
    assert main([*words, "--engine", "cuda:0,cuda:7,cpu,cqu"]) == 2
    said = capsys.readouterr().err
    assert "no card cuda:7" in said and "cuda:0, cuda:1" in said and "'cqu'" in said and "openvino" in said
    assert not (tmp_path / "out").exists()
    module.refuse_unknown(("cuda:0", "cuda", "cpu", "auto", "geryon.nets.engines.torch_:open_cpu"))


def test_a_warning_says_whose_it_is() -> None:
    told: list[events.Event] = []
    for text in ("left out: a tile", "a: parts of an unfinished run are dropped"):
        module._named("a", told.append, events.Warned(text=text))
    assert told == [
        events.Warned(text="a: left out: a tile"),
        events.Warned(text="a: parts of an unfinished run are dropped"),
    ]


def test_a_process_that_is_killed_is_the_machines_fault() -> None:
    future: Future = Future()
    future.set_exception(BrokenProcessPool("a child ended"))
    with pytest.raises(MachineError, match="was killed"):
        module._done(future, Path("a.svs"))


def test_one_slide_needs_no_second_process(slides: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "process_each", None)
    words = ["segment", str(slides[1]), "--out", str(tmp_path / "out"), "--mpp", "0.5", "--engine", "cpu,cpu"]
    assert main([*words, "--quiet"]) == 0
