"""Encoders of timm under the common decoder. Most of it needs the extra `encoders`; skipped, and said so, without."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from geryon.errors import InputError, MissingPartError, UsageError
from geryon.nets.engines.torch_ import open_cpu
from geryon.nets.model import heads_of, load_model
from geryon.nets.topologies import timm_
from geryon.nets.weights import ModelDocument, read_document, save_model, task_document
from geryon.space.boxes import Box, Frame
from geryon.tasks.task import get_task
from geryon.train.fit import Where, fit
from geryon.train.recipe import parse_recipe
from tests.train import fakes

TASKS = [get_task(name) for name in ("nuclei", "glands", "tissue")]
SMALL_VIT = {"encoder": "vit_tiny_patch16_224", "arguments": {"depth": 2}}
PATCH_14 = {
    "encoder": "vit_small_patch14_dinov2",
    "arguments": {"depth": 2, "mlp_layer": "SwiGLUPacked", "act_layer": "silu", "reg_tokens": 4, "init_values": 1e-5},
}
NETS: dict[str, dict[str, Any]] = {
    "resnet18": {"encoder": "resnet18"},
    "convnext_atto": {"encoder": "convnext_atto"},
    "efficientnet_b0": {"encoder": "efficientnet_b0"},
    "vit": SMALL_VIT,
    "vit of 14": PATCH_14,
}


@pytest.fixture
def timm() -> Any:
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"the extra encoders is not usable here: {error}")
    return timm


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def image(side: tuple[int, int] = (64, 96)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*side, 3)).astype(np.uint8)


def document(settings: dict[str, Any]) -> ModelDocument:
    tasks = tuple(task_document(t) for t in TASKS)
    return ModelDocument(name="t", version="0", topology="timm", settings=settings, tasks=tasks, mpp=0.5)


def unlike_a_fresh_one(network: torch.nn.Module) -> None:
    """Norms with statistics of their own, so that folding a wrong one shows."""
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.2)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)


@pytest.mark.parametrize("name", NETS)
def test_every_map_comes_at_its_own_stride_and_learns(timm: Any, name: str) -> None:
    heads = heads_of(TASKS, 0.5)
    network = timm_.build(NETS[name], heads)
    out = network(torch.from_numpy(image())[None].permute(0, 3, 1, 2).repeat(2, 1, 1, 1))
    for head in heads:
        assert out[head.name].shape == (2, head.channels, 64 // head.stride, 96 // head.stride)
    sum(value.square().mean() for value in out.values()).backward()
    assert all(p.grad is not None for n, p in network.named_parameters() if n.startswith("encoder.body.model.blocks"))
    body = [p.grad.abs().sum() for n, p in network.named_parameters() if "body.model" in n and p.grad is not None]
    assert len(body) > 10 and torch.stack(body).sum() > 0


@pytest.mark.parametrize("name", ["efficientnet_b0", "vit of 14"])
def test_a_model_file_answers_as_the_network_that_was_saved(timm: Any, name: str, tmp_path: Path) -> None:
    network = timm_.build(NETS[name], heads_of(TASKS, 0.5)).eval()
    unlike_a_fresh_one(network)
    tensors = {k: v.numpy() for k, v in network.state_dict().items()}
    path = tmp_path / "t.safetensors"
    save_model(path, tensors, document(NETS[name]), half=False)
    engine = open_cpu(read_document(path), tensors, heads_of(TASKS, 0.5))
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=96, height=64)
    [maps] = engine.maps([image()], [Box(frame, 0, 0, 96, 64)])
    with torch.no_grad():
        logits = network(torch.from_numpy(image())[None].permute(0, 3, 1, 2))
    inside = torch.sigmoid(logits["nuclei/inside"])[0, 0].numpy() * 255
    assert np.ptp(inside) > 1
    assert np.abs(maps["nuclei/inside"][..., 0].astype(float) - inside).max() < 1.0
    found = load_model(path, engine="cpu").predict(image((200, 140)), mpp=0.5)
    assert set(found.objects) == {"nuclei", "glands"} and set(found.rasters) == {"tissue"}


@pytest.fixture
def weights(timm: Any, tmp_path: Path) -> Path:
    """A folder as timm writes it for the hub: a ResNet with a normalisation of its own."""
    model = timm.create_model("resnet18", num_classes=5)
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.7, 0.6, 0.7), "std": (0.2, 0.2, 0.2)}
    folder = tmp_path / "pathology-resnet"
    timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    return folder


def licensed(folder: Path, licence: str) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["license"] = licence
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_weights_of_a_folder_fill_the_encoder(weights: Path) -> None:
    settings = NETS["resnet18"]
    network = timm_.build(settings, heads_of(TASKS, 0.5))
    timm_.start_from(network, settings, str(weights))
    given = timm_.created(f"local-dir:{weights}", {}, {"num_classes": 0}, pretrained=True).state_dict()
    own = network.encoder.body.model.state_dict()
    assert torch.equal(own["conv1.weight"], given["conv1.weight"])
    assert torch.equal(own["layer4.1.bn2.weight"], given["layer4.1.bn2.weight"])
    assert network.encoder.mean.flatten().tolist() == pytest.approx([0.7, 0.6, 0.7])


def test_weights_of_a_transformer_fill_the_encoder(timm: Any, tmp_path: Path) -> None:
    model = timm.create_model("vit_tiny_patch16_224", depth=2)
    timm.models.save_for_hf(model, str(tmp_path / "vit"), model_args={"depth": 2}, safe_serialization=True)
    network = timm_.build(SMALL_VIT, heads_of(TASKS, 0.5))
    timm_.start_from(network, SMALL_VIT, str(tmp_path / "vit"))
    assert torch.equal(network.encoder.body.model.pos_embed, model.pos_embed)
    for depth in (1, 3):
        other = {"encoder": "vit_tiny_patch16_224", "arguments": {"depth": depth}}
        with pytest.raises(InputError, match="'depth': 2"):
            timm_.start_from(timm_.build(other, heads_of(TASKS, 0.5)), other, str(tmp_path / "vit"))


def test_what_can_not_be_started_from_is_told(weights: Path, tmp_path: Path) -> None:
    other = {"encoder": "resnet34"}
    with pytest.raises(UsageError, match="resnet18"):
        timm_.start_from(timm_.build(other, heads_of(TASKS, 0.5)), other, str(weights))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        timm_.read_start(str(tmp_path / "empty"))
    (weights / "model.safetensors").write_bytes(b"no weights")
    settings = NETS["resnet18"]
    with pytest.raises(InputError, match="can't be taken"):
        timm_.start_from(timm_.build(settings, heads_of(TASKS, 0.5)), settings, str(weights))


def test_a_hub_that_does_not_answer_is_told(timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def silent(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", silent)
    with pytest.raises(InputError, match="no route to the hub") as caught:
        timm_.read_start("owner/name")
    assert "hf auth login" in str(caught.value)


RECIPE = """
name: small
licence: {licence}
tasks: [nuclei]
cut: [nuclei]
net: {{name: timm, settings: {{encoder: resnet18}}, start: {start}}}
sources: [{{name: tnbc}}]
split: {{validation: 0}}
train: {{steps: 2, batch: 2, crop_px: 64, threads: 0, device: cpu, precision: float32, augment: {{preset: hed-light}}}}
"""


def test_a_recipe_trains_it_and_its_model_says_where_it_began(weights: Path, tmp_path: Path) -> None:
    fakes.tnbc(tmp_path / "data" / "tnbc")
    recipe = parse_recipe(RECIPE.format(licence="open", start=licensed(weights, "apache-2.0")))
    done = fit(recipe, out=tmp_path / "run", where=Where(data=tmp_path / "data"))
    assert done.model is not None and done.step == 2
    made = read_document(done.model)
    assert made.training["started_from"] == "weights pathology-resnet" and made.use == "open"
    assert [s.licence for s in made.sources if s.name == "weights pathology-resnet"] == ["apache-2.0"]
    assert str(tmp_path) not in json.dumps(made.training) + str(made.settings)
    assert "nuclei" in load_model(done.model, engine="cpu").predict(image((128, 128)), mpp=0.5).objects


@pytest.mark.parametrize("licence", ["cc-by-nc-nd-4.0", ""])
def test_an_open_recipe_does_not_start_from_weights_for_research(weights: Path, tmp_path: Path, licence: str) -> None:
    licensed(weights, licence)
    with pytest.raises(UsageError, match="for research only"):
        fit(parse_recipe(RECIPE.format(licence="open", start=weights)), out=tmp_path / "run")
    assert timm_.read_start(str(weights)).sources[0].licence == (licence or "not stated")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"encoder": "resnet1800"}, "no model of timm"),
        ({"encoder": "hf-hub:owner/name"}, "no model of timm"),
        ({"encoder": "local-dir:folder"}, "no model of timm"),
        ({"encoder": 3}, "no model of timm"),
        ({"encoder": "vit_tiny_patch16_224", "arguments": {"pretrained_cfg": "x"}}, "no argument pretrained_cfg"),
        ({"encoder": "vit_tiny_patch16_224", "arguments": {"mlp_layer": "os.system"}}, "mlp_layer must be one of"),
        ({"encoder": "resnet18", "arguments": {"depth": 3}}, "can't be built"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "choose a ResNet"),
        ({"encodr": "resnet18"}, "no setting 'encodr'"),
    ],
)
def test_settings_that_make_no_network_are_refused(timm: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        timm_.build(settings, heads_of(TASKS, 0.5))


def test_without_the_extra_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[encoders\]" "torch==') as caught:
        timm_.build({}, heads_of(TASKS, 0.5))
    assert caught.value.exit_code == 4


def test_a_torchvision_of_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingPartError, match="torchvision was built for another torch"):
        timm_.build({}, heads_of(TASKS, 0.5))


def test_a_model_file_without_the_extra_ends_with_the_same_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_model(tmp_path / "t.safetensors", {"x": np.zeros(1, np.float32)}, document(NETS["resnet18"]))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPartError):
        load_model(tmp_path / "t.safetensors", engine="cpu")


def test_a_recipe_names_it_without_the_extra() -> None:
    recipe = parse_recipe(RECIPE.format(licence="open", start="''"))
    assert recipe.net.name == "timm" and SimpleNamespace(**recipe.net.settings).encoder == "resnet18"
