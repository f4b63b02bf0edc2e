"""Networks of plain layers: the papers' shapes, and faults of lists."""

from __future__ import annotations

import pytest
import torch

from geryon.errors import UsageError
from geryon.nets.encoders.layered import PRESETS, build, preset


@pytest.mark.parametrize(("name", "weights"), [("nic-64", 594_944), ("nic-128", 3_997_056)])
def test_presets_take_bytes_or_floats_and_give_codes(name: str, weights: int) -> None:
    network = build(preset(name)).eval()
    patches = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        codes = network(patches)
        assert torch.equal(codes, network(patches.float()))
    assert codes.shape == (2, 128) and codes.dtype == torch.float32 and (network.patch_px, network.code) == (128, 128)
    assert sum(p.numel() for p in network.parameters()) == weights
    assert set(PRESETS) == {"nic-64", "nic-128"}


def test_the_code_may_have_another_length() -> None:
    assert build(preset("nic-64", 16)).code == 16


def test_the_last_pixels_of_the_papers_patch_are_never_read() -> None:
    network = build(preset("nic-64")).eval()
    patches = torch.zeros((1, 3, 128, 128), dtype=torch.uint8)
    other = patches.clone()
    other[..., 126:, :], other[..., :, 126:] = 255, 255
    with torch.inference_mode():
        assert torch.equal(network(patches), network(other))
        other[..., 125, 0] = 255
        assert not torch.equal(network(patches), network(other))


CONV = {"kind": "conv", "out": 4, "kernel": 3, "stride": 2, "padding": [0, 0]}
DENSE = {"kind": "dense", "out": 4}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"kind": "lstm"}], "lstm"),
        ([CONV | {"kernel": 0}, {"kind": "mean"}], "kernel"),
        ([{"kind": "conv", "out": 4}], "settings"),
        ([CONV, DENSE], "flatten or mean"),
        ([{"kind": "mean"}, CONV], "needs an image"),
        ([CONV], "not a code"),
        ([CONV] * 5, "leaves no pixels"),
        ([{"kind": "flatten"}, {"kind": "dense", "out": 65_536}] + [{"kind": "dense", "out": 65_536}], "weights"),
        (["conv"], "unknown kind"),
    ],
)
def test_faults_name_the_layer(layers: list, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build({"patch_px": 16, "layers": layers})


@pytest.mark.parametrize("settings", [{}, {"patch_px": 16}, {"patch_px": 16, "layers": [], "more": 1}])
def test_settings_must_be_whole(settings: dict) -> None:
    with pytest.raises(UsageError, match="patch_px"):
        build(settings)
