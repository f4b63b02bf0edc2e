"""A synthetic slide as a file: what a reader gets back, and the truth that belongs to it."""

from __future__ import annotations

import argparse
import errno
import os

import numpy as np
import pytest
import tifffile

from geryon.cli import synth as command
from geryon.errors import MachineError, UsageError
from geryon.events import Advanced, Finished, Started
from geryon.flows.synth import _shrunk, synth
from geryon.slides.reader import open_slide
from geryon.slides.synthetic import SyntheticSlide
from geryon.space.boxes import Box


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    told: list = []
    path = synth(tmp_path_factory.mktemp("synth") / "a.tiff", size_um=(610, 300), seed=6, tell=told.append)
    return path, told


def test_the_file_opens_with_its_resolution_and_levels(made) -> None:
    with open_slide(made[0]) as slide:
        assert slide.size == (1220, 600)
        assert slide.mpp == pytest.approx((0.5, 0.5)) and slide.mpp_source == "scanner"
        assert [(level.width, level.height) for level in slide.levels] == [(1220, 600), (305, 150)]


def test_the_picture_is_the_rendering_but_for_jpeg_and_levels_are_its_means(made) -> None:
    slide = SyntheticSlide.from_file(made[0])
    want = slide.render(slide.frame.box)
    with tifffile.TiffFile(made[0]) as file:
        fine, coarse = (level.asarray() for level in file.series[0].levels)
    for got, true in ((fine, want), (coarse, _shrunk(want))):
        wrong = got.astype(float) - true
        assert np.abs(wrong.mean(axis=2)).mean() < 4  # JPEG halves the colours' resolution, so compare brightness
        assert np.abs(wrong.mean(axis=(0, 1))).max() < 1.5


def test_the_truth_is_made_again_from_the_file(made) -> None:
    again = SyntheticSlide.from_file(made[0])
    first = SyntheticSlide(width_um=610, height_um=300, seed=6)
    box = (50, 60, 700, 400)
    got, want = (each.truth("nuclei", Box(each.frame, *box), 0.5) for each in (again, first))
    assert np.array_equal(got.objects, want.objects) and got.classes == want.classes and want.classes


def test_progress_is_told_and_only_two_files_are_left(made) -> None:
    path, told = made
    assert isinstance(told[0], Started) and isinstance(told[-1], Finished)
    assert sum(e.n for e in told if isinstance(e, Advanced)) == told[0].total == 6
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.tiff", "a.truth.json"]


def test_an_interrupted_slide_leaves_nothing(tmp_path) -> None:
    def stop(event) -> None:
        if isinstance(event, Advanced):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth(tmp_path / "a.tiff", size_um=(600, 100), tell=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_before_anything_is_painted(tmp_path, monkeypatch) -> None:
    """Without room on the disk, writing through the map of a coarse level would end the process by a signal."""
    asked = []

    def full(handle: int, offset: int, nbytes: int) -> None:
        asked.append(nbytes)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    told: list = []
    with pytest.raises(MachineError, match="No space left") as caught:
        synth(tmp_path / "a.tiff", size_um=(600, 100), tell=told.append)
    assert caught.value.exit_code == 5 and asked == [300 * 50 * 3]
    assert list(tmp_path.iterdir()) == [] and not any(isinstance(e, Advanced) for e in told)


def test_the_same_settings_give_the_same_bytes(tmp_path) -> None:
    paths = [synth(tmp_path / name, size_um=(60, 50), seed=2, mpp=0.25) for name in ("a.tiff", "b.tiff")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_command_writes_a_slide_and_refuses_nonsense(tmp_path) -> None:
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    said: list[str] = []
    args = parser.parse_args([str(tmp_path / "c.tiff"), "--size-mm", "0.1x0.05", "--mpp", "1", "--seed", "4"])
    args.say = said.append
    assert command.run(args) == 0 and "seed 4" in said[0]
    with open_slide(tmp_path / "c.tiff") as slide:
        assert slide.size == (100, 50)
    for wrong in ("2", "2x", "axb"):
        with pytest.raises(UsageError):
            command.size_um(wrong)
    with pytest.raises(UsageError):
        synth(tmp_path / "c.png", size_um=(50, 50))


def test_means_at_the_edge_are_of_the_pixels_there_are() -> None:
    image = np.zeros((5, 4, 3), np.uint8)
    image[4] = 100
    assert _shrunk(image)[:, 0, 0].tolist() == [0, 100]
