"""Images strewn with digits: balanced, repeatable, and what the original's law gives away."""

from __future__ import annotations

import csv
import gzip
import struct
from collections import Counter
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.cli import main
from geryon.errors import InputError, UsageError
from geryon.flows.compress import compress
from geryon.flows.synth_digits import Digits, synth_digits
from geryon.nets.encoder import load_encoder
from geryon.slides.reader import open_slide
from geryon.slides.synthetic.digits import CLASSES, STEP_PX, TILTED, UPRIGHT, bank, distractors, draw, layout, painted
from geryon.slides.synthetic.glyphs import drawn_glyphs, read_glyphs


def best_guess_of_pair(legacy: bool) -> float:
    """How often the best guess is right for somebody who knows just the two digits, not which is which."""
    chance = Counter(
        {
            (a, b): 1 / len(distractors(a, legacy=legacy)) / CLASSES
            for a in range(CLASSES)
            for b in distractors(a, legacy=legacy)
        }
    )
    return sum(max(chance[a, b], chance[b, a]) for a, b in combinations(range(CLASSES), 2))


def test_the_unordered_pair_leaks_by_the_original_law_and_not_by_ours() -> None:
    assert best_guess_of_pair(legacy=True) == pytest.approx(0.5625)
    assert best_guess_of_pair(legacy=False) == pytest.approx(0.5)


@pytest.mark.parametrize(("legacy", "share", "alone"), [(True, 0.5625, 0.125), (False, 0.5, 1 / 9)])
def test_draws_leak_as_much_as_their_law_says(legacy: bool, share: float, alone: float) -> None:
    """What is learnt from one half of the draws is asked of the other."""
    draws = [draw(i, seed=1, size_px=900, legacy=legacy) for i in range(8000)]
    seen = Counter((d.label, d.distractor) for d in draws[:4000])
    of_pair, of_other = [], []
    for d in draws[4000:]:
        pair = sorted((d.label, d.distractor))
        of_pair.append(d.label == max(pair, key=lambda k: seen[k, sum(pair) - k]))
        of_other.append(d.label == max(range(CLASSES), key=lambda k: seen[k, d.distractor]))
    assert np.mean(of_pair) == pytest.approx(share, abs=0.03)
    assert np.mean(of_other) == pytest.approx(alone, abs=0.02)


def test_labels_are_balanced_and_draws_repeat() -> None:
    draws = [draw(i, seed=4, size_px=900) for i in range(50)]
    for start in range(0, 50, 10):
        assert sorted(d.label for d in draws[start : start + 10]) == list(range(10))
    assert draws[17] == draw(17, seed=4, size_px=900) != draw(17, seed=5, size_px=900)
    assert all(d.label != d.distractor for d in draws)
    with pytest.raises(UsageError):
        draw(0, seed=0, size_px=90)


def test_digits_in_the_rectangles_are_theirs() -> None:
    what = draw(3, seed=0, size_px=900)
    where = layout(what, seed=0, size_px=900)
    middle = np.clip(where.corner + STEP_PX // 2, 0, 899)
    at = where.mask[middle[:, 1], middle[:, 0]]
    assert len(where.digits) == 1620
    assert (where.digits[at == TILTED] == what.label).all() and (at == TILTED).sum() == where.in_tilted
    assert (where.digits[at == UPRIGHT] == what.distractor).all() and (at == UPRIGHT).sum() == where.in_upright
    area = (where.mask == UPRIGHT).sum()
    assert area == pytest.approx(what.upright_px**2 / 2, rel=0.05)
    assert 0 < where.in_tilted <= what.tilted_px**2 / 2 / 81  # a place each


def test_classes_can_be_told_apart_and_differ_from_one_to_the_next() -> None:
    """By the nearest mean of a class, on digits of another bank."""
    known, new = (drawn_glyphs(seed, 30).shrunk(STEP_PX) for seed in (0, 1))
    flat = [b.images.reshape(len(b.labels), -1).astype(float) for b in (known, new)]
    means = np.array([flat[0][known.labels == d].mean(axis=0) for d in range(10)])
    guess = np.linalg.norm(flat[1][:, None] - means, axis=2).argmin(axis=1)
    assert (guess == new.labels).mean() > 0.7
    assert len(np.unique(known.images, axis=0)) == len(known.images)


def test_a_set_opens_as_slides_with_one_label_each(tmp_path) -> None:
    said = ["--digits", "20", "--size-px", "270", "--seed", "2", "--quiet"]
    assert main(["synth", str(tmp_path), *said]) == 0
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    for split in ("train", "test"):
        assert sorted(int(r["digit"]) for r in rows if r["split"] == split) == list(range(10))
    for row in rows[:2]:
        with open_slide(tmp_path / row["path"]) as slide:
            assert slide.size == (270, 270) and slide.mpp == (1.0, 1.0)
        image = image_of(tmp_path / row["path"])
        mask = cv2.imread(str(tmp_path / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) <= {0, TILTED, UPRIGHT} and mask.shape == image.shape[:2]
        assert 0.01 < (image > 127).mean() < 0.2
        assert row["slide"] == row["path"][7:-4]  # d00000: a number and no more
    encoder = load_encoder(tmp_path / "encoder.safetensors")
    volume = compress(tmp_path / rows[0]["path"], out=tmp_path / "out", encoder=encoder)
    assert volume.tissue.shape == (30, 30) and volume.code == 16 and volume.about.patch_um == 9.0
    with_white = image_of(tmp_path / rows[0]["path"]).reshape(30, 9, 30, 9).max(axis=(1, 3)) > 0
    codes = volume.crop(0, 0, 30, 30)
    assert np.ptp(codes[~with_white], axis=0).max() < 1e-3 < np.ptp(codes[with_white], axis=0).min()
    picture = tmp_path / rows[0]["path"]
    before = picture.stat().st_mtime_ns
    synth_digits(tmp_path, Digits(count=20, size_px=270, seed=2))
    assert picture.stat().st_mtime_ns == before


def image_of(path) -> np.ndarray:
    with open_slide(path) as slide:
        return slide.read(slide.frame.box, 1.0)[..., 0]


def test_the_original_law_keeps_its_names_and_its_digits(tmp_path) -> None:
    synth_digits(tmp_path, Digits(count=2, size_px=270, legacy=True))
    row = next(csv.DictReader((tmp_path / "table.csv").open()))
    known = "_".join(row[name] for name in ("digit", "distractor", "tilted_px", "upright_px"))
    assert row["path"] == f"images/0_{known}_tile.tif" and row["mask"] == f"masks/0_{known}_ref.png"
    thin = bank(drawn_glyphs(0), legacy=True)
    assert thin.images.shape[1:] == (10, 10) and set(np.unique(thin.images[thin.images > 63])) == {255}


def idx_images(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Twenty bright squares as MNIST's images are stored, and the labels that go with them."""
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 4:24, 4:24] = np.arange(200, 220)[:, None, None]
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 20, 28, 28) + images.tobytes()))
    return path, images, np.tile(np.arange(10, dtype=np.uint8), 2)


def write_idx_labels(path: Path, labels: np.ndarray) -> None:
    path.with_name("train-labels-idx1-ubyte.gz").write_bytes(struct.pack(">HBBI", 0, 8, 1, 20) + labels.tobytes())


def test_digits_of_files_are_used(tmp_path) -> None:
    path, images, labels = idx_images(tmp_path)
    with pytest.raises(InputError, match="no idx file"):
        read_glyphs(path)
    write_idx_labels(path, labels)
    glyphs = read_glyphs(path)
    assert np.array_equal(glyphs.images, images) and np.array_equal(glyphs.labels, labels)
    where = layout(draw(0, seed=0, size_px=270), seed=0, size_px=270)
    made = painted(where, bank(glyphs), np.random.default_rng(0))
    assert made.max() >= 200 and made.shape == (270, 270)
    for other in ("a.png", "images-idx3"):
        (tmp_path / other).write_bytes(b"nothing")
        with pytest.raises(InputError):
            read_glyphs(tmp_path / other)


@pytest.mark.parametrize("other", [{"seed": 4}, {"size_px": 360}, {"legacy": True}, {"digits_from": "train"}])
def test_images_of_other_settings_are_not_taken_over(other, tmp_path) -> None:
    out, plain = tmp_path / "out", {"count": 2, "size_px": 270, "seed": 3}
    table = synth_digits(out, Digits(**plain)).read_text()
    if "digits_from" in other:
        path, _, labels = idx_images(tmp_path)
        write_idx_labels(path, labels)
        other = {"digits_from": path}
    with pytest.raises(UsageError, match="images of other settings"):
        synth_digits(out, Digits(**{**plain, **other}))
    assert (out / "table.csv").read_text() == table
    more = synth_digits(out, Digits(**{**plain, "count": 4})).read_text()
    assert len(more.splitlines()) == 5 and more.splitlines()[:3] == table.splitlines()
