"""--legacy and --to nic against what the published code made of one slide (shared/reference/nic/README.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.flows.compress import compress
from geryon.flows.compress_options import CompressOptions
from geryon.nets.encoder import Encoder, load_encoder
from geryon.store.bags.layout import get_layout
from geryon.store.features import Volume
from tests.conftest import shared_folder

FEATURES_WITHIN = 2.5e-3
"""Half a float16 step of codes between 4 and 8 is 2.0e-3."""


@pytest.fixture(scope="module")
def reference() -> Path:
    pytest.importorskip("h5py")
    return shared_folder("reference", "nic")


@pytest.fixture(scope="module")
def net(reference: Path) -> Encoder:
    return load_encoder(reference / "encoder_multitask-4.h5", engine="cpu")


def compressed(reference: Path, net: Encoder, out: Path, mask: str, stride_px: int = 128, **more: str) -> Volume:
    options = CompressOptions(
        mpp=0.5,
        mask=reference / "legacy_case" / mask if mask else None,
        stride=f"{stride_px}px",
        is_legacy=True,
        **more,  # type: ignore[arg-type]
    )
    return compress(reference / "legacy_case" / "slide.png", out=out, encoder=net, options=options)


def arrays(volume: Volume, folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.load(path) for path in get_layout("nic").write(volume, folder)}


@pytest.mark.parametrize(("case", "mask", "stride_px"), [("A", "mask.png", 128), ("B", "", 128), ("D", "mask.png", 64)])
def test_the_files_are_those_of_the_published_code(
    reference: Path, net: Encoder, tmp_path: Path, case: str, mask: str, stride_px: int
) -> None:
    made = arrays(compressed(reference, net, tmp_path, mask, stride_px), tmp_path / "nic")
    folder = reference / "legacy_case" / f"case_{case}"
    for name in ("slide_x_idx.npy", "slide_y_idx.npy", "slide_im_shape.npy"):
        want = np.load(folder / name)
        assert made[name].dtype == want.dtype and np.array_equal(made[name], want)
    want = np.load(folder / "slide_features.npy")
    assert made["slide_features.npy"].dtype == want.dtype and made["slide_features.npy"].shape == want.shape
    assert np.abs(made["slide_features.npy"].astype(np.float32) - want).max() <= FEATURES_WITHIN
    distance = made["slide_features_distance_map.npy"] - np.load(folder / "slide_features_distance_map.npy")
    assert np.abs(distance).max() <= 1e-12


def test_eight_turns_are_those_of_the_published_code(reference: Path, net: Encoder, tmp_path: Path) -> None:
    made = arrays(compressed(reference, net, tmp_path, "mask.png", turns="eight"), tmp_path / "nic")
    files = sorted((reference / "legacy_case" / "case_A_augmented").glob("*.npy"))
    assert len(files) == 8
    for path in files:
        want = np.load(path)
        assert made[path.name].shape == want.shape
        assert np.abs(made[path.name].astype(np.float32) - want).max() <= FEATURES_WITHIN


def test_a_coarser_mask_keeps_the_right_cells(reference: Path, net: Encoder, tmp_path: Path) -> None:
    """The published code lost 23 of these cells and gained 8 wrong ones (case C)."""
    whole = compressed(reference, net, tmp_path / "whole", "mask.png")
    quarter = compressed(reference, net, tmp_path / "quarter", "mask_quarter.png")
    assert whole.tissue.sum() == 36 and np.array_equal(quarter.tissue, whole.tissue)
    assert np.array_equal(quarter.bag()[0], whole.bag()[0])


def test_without_legacy_means_are_not_cut_off_and_no_border_is_lost(
    reference: Path, net: Encoder, tmp_path: Path
) -> None:
    legacy = compressed(reference, net, tmp_path / "legacy", "mask.png")
    options = CompressOptions(mpp=0.5, mask=reference / "legacy_case" / "mask.png")
    volume = compress(reference / "legacy_case" / "slide.png", out=tmp_path / "ours", encoder=net, options=options)
    assert (volume.rows, volume.columns) == (10, 12)
    assert volume.tissue.sum() > 36 and volume.tissue[legacy.tissue].all()
    apart = np.abs(volume.crop(0, 0, 10, 12)[legacy.tissue] - legacy.bag()[0]).max()
    assert 1e-3 < apart < 0.03  # as codes_uint8_path is from codes
