"""The networks: the paper's size, masks that hide, pieces of a bag that make the whole."""

from __future__ import annotations

import pytest
import torch

from geryon.cohort.network import CompressedCNN, GatedAttention, Last, MeanLinear, below


def volume(n=2, code=6, rows=9, columns=13, seed=0):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(n, code, rows, columns, generator=made)
    return x, torch.rand(n, rows, columns, generator=made) > 0.4


def test_the_cnn_has_the_size_that_the_paper_counts() -> None:
    net = CompressedCNN(128, Last(128, 1))
    weights = [sum(p.numel() for p in block[0].parameters()) for block in net.blocks]
    assert weights == [17_664] * 8  # "about 17,700 a layer, 0.14 million for all eight"
    sizes, x = [], torch.zeros(1, 128, 400, 400)
    for block in net.eval().blocks:
        x = block(x)
        sizes.append(x.shape[-1])
    assert sizes == [200, 100, 50, 25, 13, 7, 7, 7]


@pytest.mark.parametrize("cells", [1, 7, 64, 65, 130])
def test_the_cnn_answers_a_crop_of_any_size(cells: int) -> None:
    net = CompressedCNN(3, Last(8, 2), width=8).eval()
    assert net(torch.zeros(1, 3, cells, cells), torch.ones(1, cells, cells, dtype=torch.bool)).shape == (1, 2)


def test_a_flat_head_is_for_one_size() -> None:
    net = CompressedCNN(3, Last(8, 1), width=8, flat_cells=130).eval()
    assert net.dense.in_features == 8 * 3 * 3
    assert net(torch.zeros(1, 3, 130, 130), torch.ones(1, 130, 130, dtype=torch.bool)).shape == (1, 1)


def test_places_of_the_last_map_have_the_tissue_below_them() -> None:
    mask = torch.zeros(1, 130, 70, dtype=torch.bool)
    mask[0, 64, 3] = mask[0, 129, 69] = True
    assert below(mask, torch.Size((3, 2)))[0].tolist() == [[False, False], [True, False], [False, True]]


@pytest.mark.parametrize("make", [CompressedCNN, GatedAttention, MeanLinear])
def test_codes_outside_the_mask_change_nothing(make) -> None:
    torch.manual_seed(0)
    net = make(6, Last(6 if make is MeanLinear else 128, 3)).eval()
    x, mask = volume()
    other = torch.where(mask[:, None], x, torch.full_like(x, 9.0))
    assert torch.equal(net(x * mask[:, None], mask), net(other * mask[:, None], mask))
    assert torch.allclose(net(x, mask), net(other, mask), atol=1e-6)


def test_attention_is_a_share_of_the_tissue() -> None:
    net = GatedAttention(6, Last(128, 1)).eval()
    x, mask = volume()
    weights = net.attention(x, mask)
    assert weights.shape == mask.shape and (weights[~mask] == 0).all()
    assert torch.allclose(weights.sum((1, 2)), torch.ones(2))


@pytest.mark.parametrize("make", [GatedAttention, MeanLinear])
def test_pieces_of_a_bag_make_the_whole(make) -> None:
    torch.manual_seed(0)
    net = make(6, Last(6 if make is MeanLinear else 128, 2)).eval()
    x, mask = volume()
    mask[:, :, :4] = False  # a piece without tissue comes first
    bag = None
    for columns in (slice(0, 4), slice(4, 5), slice(5, None)):
        bag = net.take(bag, x[..., columns], mask[..., columns])
    assert torch.allclose(net.answer(bag), net(x, mask), atol=1e-5)


def test_cumulative_logits_never_rise() -> None:
    last = Last(4, 5, ordered=True)
    torch.nn.init.normal_(last.steps, std=5.0)
    logits = last(torch.randn(10, 4))
    assert logits.shape == (10, 5) and (logits.diff(dim=1) <= 0).all()


def test_an_unknown_measure_counts_as_the_mean() -> None:
    last = Last(2, 1, measures=2)
    last.measures_mean.copy_(torch.tensor([3.0, 5.0]))
    last.measures_sd.fill_(2.0)
    features = torch.randn(1, 2)
    known = last(features, torch.tensor([[3.0, 5.0]]))
    assert torch.equal(last(features, torch.tensor([[float("nan"), 5.0]])), known)
    assert not torch.equal(last(features, torch.tensor([[9.0, 5.0]])), known)
