"""Maps of evidence: where a known network looks, whatever the crops, the turn and the pieces it is read in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from geryon.cohort.evidence import Asking, attention, covering_corners, grad_cam, mean_map, methods_of, occlusion
from geryon.cohort.network import CompressedCNN, GatedAttention, Last, MeanLinear, ObjectsOnly
from geryon.cohort.volumes import Held
from geryon.space.turns import TURNS, turned, turned_back

ONE = torch.ones(1)


def held(codes: np.ndarray, tissue: np.ndarray, pieces: int = 3) -> Held:
    """A volume in memory, read in some pieces."""
    n = int(tissue.sum())
    sizes = [n // pieces] * (pieces - 1)
    codes = (codes * tissue[..., None]).astype(np.float32)
    return Held(tissue=tissue, codes=codes[None], pieces=(*sizes, n - sum(sizes)), path="memory")


def random_volume(rows: int = 12, columns: int = 16, code: int = 4, seed: int = 0) -> Held:
    rng = np.random.default_rng(seed)
    return held(rng.normal(size=(rows, columns, code)), rng.random((rows, columns)) > 0.2)


class Known(nn.Module):
    """The mean over the slide of the first number of each code, by way of a first convolution like the CNN's."""

    def __init__(self, code: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(code, 3, 3, stride=2, padding=1)
        nn.init.zeros_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        with torch.no_grad():
            self.first.weight[0, 0] = 1.0  # the second and third map speak of nothing

    def forward(self, x, mask, objects=None):
        return self.first(x * mask[:, None])[:, 0].mean((1, 2))[:, None]


def lesion(rows: int = 24, columns: int = 24) -> tuple[Held, np.ndarray]:
    """A volume whose first code is 1 in a square and noise elsewhere."""
    rng = np.random.default_rng(3)
    where = np.zeros((rows, columns), bool)
    where[6:14, 10:20] = True
    codes = rng.normal(0, 0.1, (rows, columns, 4))
    codes[..., 0] += where
    return held(codes, np.ones((rows, columns), bool)), where


@pytest.mark.parametrize("side", [24, 16, 40])
def test_grad_cam_of_a_known_function_of_a_region_lies_there(side: int) -> None:
    cells, where = lesion()
    found = grad_cam(Known(), cells, Asking(weights=ONE, side=side))
    assert found.shape == where.shape and found.dtype == np.float32
    inner = where.copy()
    inner[[6, 13]] = inner[:, [10, 19]] = False  # the border of a map of two by two cells is soft
    outside = ~np.pad(where, 2)[2:-2, 2:-2]
    outside[4:16, 8:22] = False
    assert found[inner].min() > 3 * np.abs(found[outside]).max()
    against = grad_cam(Known(), cells, Asking(weights=-ONE, side=side))
    np.testing.assert_allclose(-against, found)
    assert against[inner].max() < 0  # no ReLU: what speaks against an answer is negative


def test_weights_are_the_gradients_of_the_output_averaged_over_space() -> None:
    """Against the sum by hand: the output is the mean of the first map over 4 x 4 places, so its weight is 1 / 16."""
    torch.manual_seed(1)
    cells, network = random_volume(8, 8), Known()
    nn.init.normal_(network.first.weight)
    found, want = grad_cam(network, cells, Asking(weights=ONE, side=8)), np.zeros((8, 8))
    for turn in range(TURNS):
        x = torch.from_numpy(turned(cells.codes[0], turn).copy()).permute(2, 0, 1)[None]
        first = network.first(x).detach()[0, 0].numpy() / 16
        want += turned_back(first.repeat(2, 0).repeat(2, 1), turn) / TURNS
    np.testing.assert_allclose(found[cells.tissue], want[cells.tissue], rtol=1e-4, atol=1e-7)


def test_a_turned_volume_has_the_turned_map() -> None:
    torch.manual_seed(0)
    network = CompressedCNN(4, Last(8, 1), width=8).eval()
    cells, asking = random_volume(), Asking(weights=ONE, side=16)
    found = grad_cam(network, cells, asking)
    assert np.array_equal(np.isfinite(found), cells.tissue) and np.nanstd(found) > 0
    for turn in (1, 4, 6):
        other = held(turned(cells.codes[0], turn), turned(cells.tissue, turn))
        np.testing.assert_allclose(turned(found, turn), grad_cam(network, other, asking), rtol=1e-4, atol=1e-9)


def test_attention_is_that_of_the_whole_bag_however_it_is_read() -> None:
    torch.manual_seed(0)
    network, cells = GatedAttention(4, Last(128, 1)).eval(), random_volume()
    found = attention(network, cells, Asking(weights=ONE))
    whole = network.attention(
        torch.from_numpy(cells.codes[0]).permute(2, 0, 1)[None], torch.from_numpy(cells.tissue)[None]
    )
    want = whole[0].detach().numpy() * cells.tissue.sum()
    np.testing.assert_allclose(found[cells.tissue], want[cells.tissue], rtol=1e-4)
    assert found[cells.tissue].mean() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("make", [MeanLinear, GatedAttention])
def test_occlusion_of_a_bag_is_the_fall_without_the_block(make) -> None:
    torch.manual_seed(0)
    network, cells = make(4, Last(4 if make is MeanLinear else 128, 1)).eval(), random_volume(9, 10)
    found = occlusion(network, cells, Asking(weights=ONE, block=4))
    x = torch.from_numpy(cells.codes[0]).permute(2, 0, 1)[None]
    with torch.no_grad():
        whole = network(x, torch.from_numpy(cells.tissue)[None])
        for at in (np.s_[0:4, 0:4], np.s_[8:9, 4:8]):
            left = cells.tissue.copy()
            left[at] = False
            fall = float(whole - network(x * torch.from_numpy(left), torch.from_numpy(left)[None]))
            np.testing.assert_allclose(found[at][cells.tissue[at]], fall, rtol=1e-3, atol=1e-6)


def test_occlusion_of_a_cnn_finds_what_a_known_function_looks_at() -> None:
    class Sum(nn.Module):
        first = nn.Identity()

        def forward(self, x, mask, objects=None):
            return (x[:, 0] * mask).sum((1, 2))[:, None]

    cells, where = lesion()
    sums = cells.codes[0, ..., 0].reshape(6, 4, 6, 4).sum((1, 3)).repeat(4, 0).repeat(4, 1)
    np.testing.assert_allclose(occlusion(Sum(), cells, Asking(weights=ONE, side=24)), sums, atol=1e-4)
    in_crops = occlusion(Sum(), cells, Asking(weights=ONE, side=16))
    assert in_crops[where].mean() > 5 * np.abs(in_crops[~where]).mean()


def test_crops_cover_all_tissue_of_a_large_slide() -> None:
    tissue = np.zeros((37, 90), bool)
    tissue[30:, 70:] = tissue[0, 0] = True
    covered = np.zeros_like(tissue)
    corners = covering_corners(tissue, 16)
    for row, column in corners:
        assert 0 <= row <= 37 - 16 and 0 <= column <= 90 - 16
        covered[row : row + 16, column : column + 16] = True
    assert covered[tissue].all() and len(corners) < 20
    assert covering_corners(np.ones((4, 6), bool), 16) == [(-6, -5)]


def test_networks_tell_what_they_can_and_maps_are_averaged() -> None:
    assert methods_of(CompressedCNN(4, Last(8, 1), width=8)) == ("grad-cam", "occlusion")
    assert methods_of(GatedAttention(4, Last(128, 1))) == ("attention", "occlusion")
    assert (
        methods_of(MeanLinear(4, Last(4, 1))) == ("occlusion",)
        and methods_of(ObjectsOnly(Last(0, 1, measures=2))) == ()
    )
    cells, asking = random_volume(), Asking(weights=ONE, side=16)
    torch.manual_seed(0)
    two = [CompressedCNN(4, Last(8, 1), width=8).eval() for _ in range(2)]
    want = np.mean([grad_cam(each, cells, asking) for each in two], axis=0)
    np.testing.assert_allclose(mean_map("grad-cam", two, cells, asking), want, rtol=1e-5)
