"""The published network: names and sizes from the specification, numbers from the reference data."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from geryon.errors import InputError, UsageError
from geryon.nets.foreign import cerberus as foreign
from geryon.nets.foreign import cerberus_windows
from geryon.nets.model import heads_of
from geryon.nets.network import filled
from geryon.nets.topologies import Head, cerberus
from geryon.nets.weights import read_document, read_tensors, save_model
from geryon.tasks import cerberus_decoding as rules
from geryon.tasks import published

PUBLISHED = {
    "Nuclei-INST": "nuclei/inst",
    "Nuclei-TYPE": "nuclei/class",
    "Gland-INST": "glands/inst",
    "Gland-TYPE": "glands/class",
    "Lumen-INST": "lumina/inst",
}


def reference(name: str) -> Path:
    path = Path(__file__).parents[3] / "shared" / "reference" / "cerberus" / name
    if not path.exists():
        pytest.skip(f"needs shared/reference/cerberus/{name}")
    return path


@cache
def rule() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_weights", reference("make_weights.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def weights() -> dict[str, torch.Tensor]:
    drawn = rule().make_state_dict(0)
    assert rule().checksum(drawn) == 1901649229
    return {name: torch.from_numpy(np.array(value)) for name, value in drawn.items()}


def network(heads: tuple[Head, ...] = cerberus.ALL_HEADS, **settings: int) -> cerberus.Cerberus:
    module = cerberus.build(settings, heads)
    wanted = module.state_dict()
    module.load_state_dict({name: value for name, value in weights().items() if name in wanted})
    return module.eval()


@cache
def case(size: str) -> tuple[dict[str, np.ndarray], list[torch.Tensor], dict[str, np.ndarray], np.ndarray]:
    with np.load(reference(f"logits_{size}.npz"), allow_pickle=False) as file:
        data = dict(file)
    module = network()
    with torch.inference_mode():
        taps = module.taps(cerberus_windows.as_input(data["image"]))
        maps = {name: module.decode(name, taps, 0)[0].numpy() for name in cerberus.DECODERS}
        return data, taps, maps, module.patch_class(taps[4]).flatten().numpy()


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_names_and_sizes_are_the_published_ones():
    with torch.device("meta"):
        module = cerberus.build({}, cerberus.ALL_HEADS)
    assert len(module.state_dict()) == 558
    assert parameters(module) == 28_377_284
    assert parameters(module.backbone) == 21_797_672
    assert parameters(module.conv_map) == 131_072
    assert {parameters(d) for k, d in module.decoder_head.items() if k != "Patch-Class"} == {1_255_872}
    assert parameters(module.decoder_head["Patch-Class"]) == 135_177
    heads = {name: parameters(head) for name, head in module.output_head.items()}
    assert heads == {"Nuclei": 6_723, "Nuclei#TYPE": 7_111, "Gland": 6_723, "Gland#TYPE": 6_723, "Lumen": 6_723}


def test_only_the_decoders_asked_for_are_built():
    with torch.device("meta"):
        module = cerberus.build({}, (Head(name="glands/inst", channels=3, stride=2),))
    assert parameters(module) == 21_797_672 + 131_072 + 1_255_872 + 6_723


def test_a_map_that_cerberus_lacks_is_told():
    with pytest.raises(UsageError, match="'nuclei/depth'"):
        cerberus.build({}, (Head(name="nuclei/depth", channels=1, stride=1),))


def test_names_are_those_of_the_reference():
    import json

    wanted = json.loads(reference("state_dict.json").read_text())
    assert foreign.wanted_shapes() == {name: tuple(entry["shape"]) for name, entry in wanted.items()}


SIZES = ["144", "256x320", pytest.param("448", marks=pytest.mark.slow)]


def strided(name: str, plane: np.ndarray) -> np.ndarray:
    if name.endswith("_centre_s4"):
        return plane[:, 152:296:4, 152:296:4]
    step = int(name.rpartition("_s")[2]) if "_s" in name else 1
    return plane[:, ::step, ::step]


@pytest.mark.parametrize("size", SIZES)
def test_logits_are_the_published_ones(size):
    data, _, maps, patch = case(size)
    assert np.allclose(patch, data["Patch-Class"], atol=2e-3, rtol=1e-3)
    compared = 0
    for key, wanted in data.items():
        head = next((h for h in PUBLISHED if key.startswith(h)), None)
        if head is None:
            continue
        plane = maps[PUBLISHED[head]]
        if key.endswith("_argmax_count"):
            counts = np.bincount(plane.argmax(axis=0).ravel(), minlength=len(plane))
            assert np.abs(counts - wanted).max() <= 1e-4 * plane[0].size
        elif key.endswith("_mean_std"):
            assert np.allclose([plane.mean(), plane.std()], wanted, atol=1e-4)
        else:
            assert np.allclose(strided(key, plane), wanted, atol=2e-3, rtol=1e-3)
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("size", SIZES)
def test_taps_are_the_published_ones(size):
    data, taps, _, _ = case(size)
    for i, tap in enumerate(taps):
        mean, std = data[f"tap{i}_mean_std"]
        assert abs(tap.mean().item() - mean) < 1e-4 and abs(tap.std().item() - std) < 1e-3
        y, x = (n // 2 for n in tap.shape[2:])
        first = tap[0, :8].numpy()
        assert np.allclose(first[:, :4, :4], data[f"tap{i}_corner"], atol=2e-3, rtol=1e-3)
        assert np.allclose(first[:, y : y + 4, x : x + 4], data[f"tap{i}_centre"], atol=2e-3, rtol=1e-3)


def test_folded_network_says_the_same():
    data, _taps, maps, patch = case("144")
    module = cerberus.for_inference(network())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for name, m in module.named_modules() if "Patch" not in name)
    with torch.inference_mode():
        fast = module.taps(cerberus_windows.as_input(data["image"]))
        for name, plane in maps.items():
            assert np.allclose(module.decode(name, fast, 0)[0].numpy(), plane, atol=2e-3, rtol=1e-3)
        assert np.allclose(module.patch_class(fast[4]).flatten().numpy(), patch, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("blank_px", [16, 32, 48, 80])
def test_a_decoder_without_the_border_says_the_same_inside(blank_px):
    _, taps, maps, _ = case("256x320")
    module = network((Head(name="nuclei/inst", channels=3, stride=1),))
    with torch.inference_mode():
        part = module.decode("nuclei/inst", taps, blank_px)[0].numpy()
    whole = maps["nuclei/inst"][:, blank_px:-blank_px, blank_px:-blank_px]
    assert part.shape == whole.shape
    assert np.abs(part - whole).max() < 2e-4


def test_forward_gives_each_map_at_its_stride():
    data, _taps, maps, _ = case("144")
    heads = heads_of((published.NUCLEI, published.GLANDS, published.TISSUE), 0.5)
    with torch.inference_mode():
        out = network(heads, blank_px=48)(cerberus_windows.as_input(data["image"]))
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "nuclei/inst": (1, 3, 144, 144),
        "nuclei/class": (1, 7, 144, 144),
        "glands/inst": (1, 3, 72, 72),
        "glands/class": (1, 3, 72, 72),
        "tissue/class": (1, 9, 9, 9),
    }
    assert np.abs(out["nuclei/inst"][0, :, 48:96, 48:96].numpy() - maps["nuclei/inst"][:, 48:96, 48:96]).max() < 2e-4
    assert (out["nuclei/inst"][0, :, :48] == 0).all()
    p = torch.from_numpy(maps["glands/inst"]).softmax(dim=0)
    halved = p.reshape(3, 72, 2, 72, 2).mean(dim=(2, 4))[:, 24:48, 24:48]
    assert torch.allclose(out["glands/inst"][0].softmax(dim=0)[:, 24:48, 24:48], halved, atol=1e-4)


def test_tissue_of_a_cell_is_the_published_answer_of_the_window_around_it():
    _, taps, _, patch = case("256x320")
    module = network(cerberus.ALL_HEADS[-1:])
    with torch.inference_mode():
        dense = module.tissue(taps[4])
    rows, columns = dense.shape[2:]
    top, left = (rows - 9) // 2, (columns - 9) // 2
    assert np.allclose(dense[0, :, top + 4, left + 4].numpy(), patch, atol=1e-4)


@cache
def small_image() -> np.ndarray:
    with np.load(reference("tile_case.npz"), allow_pickle=False) as file:
        return file["image"][:150, :170].copy()


def test_large_windows_are_the_same_for_any_core_as_far_as_the_margin_reaches():
    module = cerberus.for_inference(network((Head(name="glands/inst", channels=3, stride=1), cerberus.ALL_HEADS[-1])))
    one = cerberus_windows.predict_large(module, small_image(), core=176)
    two = cerberus_windows.predict_large(module, small_image(), core=96)
    assert one.maps["glands/inst"].shape == (150, 170, 3)
    assert np.allclose(one.maps["glands/inst"].sum(axis=2), 1, atol=1e-5)
    differs = one.maps["glands/inst"].argmax(axis=2) != two.maps["glands/inst"].argmax(axis=2)
    assert differs.mean() < 0.02
    assert one.tissue.shape == two.tissue.shape == (10, 12, 9)
    assert np.allclose(one.tissue.sum(axis=2), 1, atol=1e-5) and np.allclose(two.tissue.sum(axis=2), 1, atol=1e-5)


def test_a_window_off_the_grid_is_refused():
    with pytest.raises(UsageError, match="off the published grid"):
        cerberus_windows.predict_large(cerberus.build({}, ()), np.zeros((32, 32, 3), np.uint8), margin=96)


def checkpoint(path: Path, tensors: dict[str, torch.Tensor], prefix: str = "module.") -> Path:
    torch.save({"desc": {prefix + name: value for name, value in tensors.items()}}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_becomes_a_model_file(tmp_path, prefix):
    tensors, document = foreign.import_checkpoint(checkpoint(tmp_path / "w.tar", weights(), prefix))
    assert len(tensors) == 558
    save_model(tmp_path / "cerberus.safetensors", tensors, document, half=False)
    again = read_document(tmp_path / "cerberus.safetensors")
    assert (again.topology, again.mpp, again.use) == ("cerberus", 0.5, "research")
    assert again.sources[0].licence == "CC BY-NC-SA 4.0"
    assert [t.name for t in again.task_values()] == ["nuclei", "glands", "lumina", "tissue"]
    heads = heads_of(again.task_values(), again.mpp)
    module = filled(again, read_tensors(tmp_path / "cerberus.safetensors"), heads)
    assert torch.equal(module.conv_map.weight, weights()["conv_map.weight"])


def changed(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    names = {name.replace("__", "."): value for name, value in tensors.items()}
    return {name: value for name, value in {**weights(), **names}.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"conv_map__weight": None}, "conv_map.weight is missing"),
        ({"conv_map__more": torch.zeros(2)}, "conv_map.more is unknown"),
        ({"conv_map__weight": torch.zeros(256, 512)}, r"conv_map.weight is \(256, 512\), not \(256, 512, 1, 1\)"),
        ({"conv_map__weight": torch.full((256, 512, 1, 1), torch.nan)}, "conv_map.weight is not finite"),
        ({"conv_map__weight": torch.zeros(256, 512, 1, 1, dtype=torch.int64)}, "conv_map.weight has type"),
    ],
)
def test_a_wrong_tensor_is_named(change, says):
    with pytest.raises(InputError, match=says):
        foreign.tensors_of(changed(**change), where="w.tar")


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_what_is_no_checkpoint_of_tensors_is_refused(tmp_path, capsys):
    torch.save({"desc": Harmful()}, tmp_path / "code.tar")
    torch.save({"other": 1}, tmp_path / "other.tar")
    (tmp_path / "text.tar").write_text("no weights")
    for name, says in (("code", "tensors only"), ("other", "'desc'"), ("text", "tensors only"), ("none", "can't be")):
        with pytest.raises(InputError, match=says):
            foreign.import_checkpoint(tmp_path / f"{name}.tar")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.slow
def test_published_windows_give_the_published_tile():
    with np.load(reference("tile_case.npz"), allow_pickle=False) as file:
        data = dict(file)
    maps = cerberus_windows.predict_published(cerberus.for_inference(network()), data["image"])
    for head in ("Nuclei-INST", "Gland-INST", "Lumen-INST"):
        found = maps.maps[PUBLISHED[head]][..., 1:]
        assert np.abs(found - data[f"{head}_prob_f16"].astype(np.float32)).max() < 2e-3
    for head in ("Nuclei-TYPE", "Gland-TYPE"):
        assert (maps.maps[PUBLISHED[head]].argmax(axis=2) != data[head]).mean() < 1e-3
    assert maps.tissue.argmax(axis=2).tolist() == data["Patch-Class"][::144, ::144].tolist()
    check_objects(maps, data)


def check_objects(maps: cerberus_windows.Maps, data: dict[str, np.ndarray]) -> None:
    parts = {name: np.moveaxis(maps.maps[f"{name}/inst"][..., 1:], 2, 0) for name in ("nuclei", "glands", "lumina")}
    found = {
        "Nuclei": rules.decode_nuclei(*parts["nuclei"]),
        "Gland": rules.decode_glands(*parts["glands"], published=True),
    }
    found["Lumen"] = rules.inside_glands(rules.decode_lumina(*parts["lumina"], published=True), found["Gland"])
    for name, labels in found.items():
        wanted = data[f"{name}_inst"]
        n = len(np.unique(wanted)) - 1
        assert abs(len(np.unique(labels)) - 1 - n) <= 0.01 * n
        assert abs(int((labels > 0).sum()) - int((wanted > 0).sum())) <= 1e-3 * (wanted > 0).sum()


@pytest.mark.slow
def test_published_windows_through_the_model_are_the_tile_case(tmp_path: Path) -> None:
    """`--window published`: the flow's own windows and mosaic, against the original's tile mode."""
    from geryon.nets.model import ResearchOnly, at_model_mpp, frame_of, load_model, whole_window
    from geryon.space.boxes import Frame

    case = np.load(reference("tile_case.npz"))
    path = checkpoint(tmp_path / "weights.tar", weights())
    tensors, document = foreign.import_checkpoint(path)
    save_model(tmp_path / "cerberus.safetensors", tensors, document, half=False)
    with pytest.warns(ResearchOnly):
        net = load_model(tmp_path / "cerberus.safetensors", engine="cpu", tasks=["nuclei"])
    height, width = case["image"].shape[:2]
    level0 = Frame(name="level0", mpp_x=0.5, mpp_y=0.5, width=width, height=height)
    work, image = at_model_mpp(case["image"], level0, net.mpp)
    mosaic = net.mosaic(image, work, windows="published")
    [task] = net.tasks
    window = whole_window(frame_of(task, work, net.mpp), task)
    maps = mosaic.region(task, window)
    x, y = window.offset
    found = maps[task.maps[0].name][y : y + height, x : x + width, 1:].astype(np.float32) / 255.0
    expected = case["Nuclei-INST_prob_f16"].astype(np.float32)
    assert np.abs(found - expected).max() <= 2e-3 + 0.5 / 255
