"""Encoders that Keras saved: equal to the original's outputs, read by name, and faults in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import geryon
from geryon.cli import main
from geryon.errors import InputError, MissingPartError
from geryon.nets.encoders.ready import filled
from geryon.nets.foreign.keras import import_encoder
from tests.conftest import shared_folder
from tests.nets.encoders.keras_files import arrays, flat_file, nested_file, network

h5py = pytest.importorskip("h5py")

BATCHED = ("multitask-4", "bigan")
HISTOLOGY = slice(0, 11)


def reference(name: str) -> tuple[Path, np.ndarray, dict[str, np.ndarray]]:
    """File, patches and the original's outputs."""
    folder = shared_folder("reference", "nic")
    with np.load(folder / f"codes_{name}.npz") as codes:
        return folder / f"encoder_{name}.h5", np.load(folder / "inputs.npz")["patches"], dict(codes)


@pytest.mark.parametrize("engine", ["cpu", "openvino-float32"])
@pytest.mark.parametrize("name", BATCHED)
def test_codes_are_the_originals(name: str, engine: str) -> None:
    file, patches, told = reference(name)
    encoder = geryon.load_encoder(file, engine=engine)
    assert (encoder.name, encoder.code, encoder.mpp, encoder.patch_px) == (f"nic-{name}", 128, 0.5, 128)
    assert np.abs(encoder(patches) - told["codes"]).max() <= 1e-4


def test_mean_rgb_is_the_mean() -> None:
    file, patches, told = reference("mean-rgb")
    for given in (file, "mean-rgb"):
        codes = geryon.load_encoder(given, engine="cpu")(patches)
        exact = (patches.astype(np.float64) / 255 * 2 - 1).mean(axis=(1, 2))
        assert np.abs(codes - exact).max() <= 1e-6
        # The reference added 16,384 float32 numbers one after the other: that alone is off by 1.5e-4.
        assert np.abs(codes - told["codes"]).max() <= 2e-4


@pytest.mark.parametrize("name", BATCHED)
def test_each_layer_gives_what_the_originals_gives(name: str) -> None:
    file, patches, told = reference(name)
    tensors, document = import_encoder(file)
    net = filled(document, tensors)
    x = torch.from_numpy(patches[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
    keys = iter(sorted(key for key in told if key.startswith("layer_")))
    compared = 0
    with torch.inference_mode():
        for layer in net.layers:  # type: ignore[union-attr]
            x = layer(x)
            if type(layer).__name__ == "Flatten":
                continue
            key = next(keys)
            ours = x[0].permute(1, 2, 0).numpy() if x.ndim == 4 else x[0].numpy()
            assert np.abs(ours - told[key]).max() <= max(1e-3, 1e-5 * np.abs(told[key]).max()), key
            compared += 1
    assert compared == 14 and next(keys, None) is None


WRONG = {
    "slope 0.3": (lambda kind, v: {**v, "slope": 0.3} if kind == "leaky_relu" else v, 2.0),
    "slope 0.01": (lambda kind, v: {**v, "slope": 0.01} if kind == "leaky_relu" else v, 1.5),
    "epsilon 1e-5": (lambda kind, v: {**v, "eps": 1e-5} if kind == "batch_norm" else v, 0.02),
}


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize("wrong", WRONG)
def test_the_test_would_see_a_wrong_reading(name: str, wrong: str) -> None:
    file, patches, told = reference(name)
    tensors, document = import_encoder(file)
    change, least = WRONG[wrong]
    document.settings["layers"][:] = [change(v["kind"], v) for v in document.settings["layers"]]
    with torch.inference_mode():
        codes = filled(document, tensors)(torch.from_numpy(patches[HISTOLOGY]).permute(0, 3, 1, 2)).numpy()
    assert np.abs(codes - told["codes"][HISTOLOGY]).max() > least


@pytest.mark.parametrize("name", BATCHED)
def test_the_order_of_norms_and_the_scale_of_pixels_matter_too(name: str) -> None:
    file, patches, told = reference(name)
    tensors, document = import_encoder(file)
    images = torch.from_numpy(patches[HISTOLOGY]).permute(0, 3, 1, 2)
    layers = document.settings["layers"]
    with torch.inference_mode():
        halved = filled(document, tensors)(images / 2 + 127.5).numpy()  # 0..1 where -1..1 is meant
        renamed = dict(tensors)
        for i in [i for i, layer in enumerate(layers) if layer["kind"] == "batch_norm"]:
            layers[i - 1], layers[i] = layers[i], layers[i - 1]
            for key in [key for key in tensors if key.startswith(f"layers.{i}.")]:
                renamed[key.replace(f".{i}.", f".{i - 1}.")] = renamed.pop(key)
        norm_first = filled(document, renamed)(images).numpy()
    right = told["codes"][HISTOLOGY]
    assert np.abs(norm_first - right).max() > 5 and np.abs(halved - right).max() > 1.5


@pytest.mark.parametrize("name", BATCHED)
def test_flattening_and_averaging_matter_too(name: str) -> None:
    file, patches, told = reference(name)
    tensors, document = import_encoder(file)
    dense = f"layers.{len(document.settings['layers']) - 1}.weight"
    first = tensors | {dense: tensors[dense].reshape(128, 3, 3, 128).transpose(0, 3, 1, 2).reshape(128, 1152)}
    images = torch.from_numpy(patches[HISTOLOGY]).permute(0, 3, 1, 2)
    with torch.inference_mode():
        channel_first = filled(document, first)(images).numpy()
        every_second = filled(document, tensors)(
            images[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
        )
    right = told["codes"][HISTOLOGY]
    assert np.abs(channel_first - right).max() > 3 and np.abs(every_second.numpy() - right).max() > 0.3


def test_an_import_gives_the_same_codes_and_names_its_terms(tmp_path: Path, capsys: Any) -> None:
    file, patches, _ = reference("multitask-4")
    out = tmp_path / "m.safetensors"
    assert main(["import-weights", "nic", str(file), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "128 numbers" in said.out + said.err and "MIT" in said.out + said.err
    ours, theirs = (geryon.load_encoder(path, engine="cpu") for path in (out, file))
    np.testing.assert_array_equal(ours(patches), theirs(patches))
    assert ours.document == theirs.document and ours.document.use == "open"
    assert "Diagnostic Image Analysis Group" in ours.document.sources[0].licence
    assert ours.sha256 != theirs.sha256, "codes are known by the file they came from"


def test_flat_and_nested_layouts_hold_the_same_encoder(tmp_path: Path) -> None:
    layers = network()
    held = arrays(layers)
    flat, nested = flat_file(tmp_path / "f.h5", layers, held), nested_file(tmp_path / "n.h5", layers, held)
    patches = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    with pytest.warns(UserWarning, match="research only"):
        one, two = (geryon.load_encoder(path, engine="cpu") for path in (flat, nested))
    np.testing.assert_array_equal(one(patches), two(patches))
    assert one.document.sources[0].licence == "not stated" and one.name == "f"
    assert one.document.settings["layers"][0] == {"kind": "pool", "size": 2}


def test_an_encoder_of_128_pixels_is_taken_as_it_is(tmp_path: Path) -> None:
    layers = network(side=128)
    _, document = import_encoder(flat_file(tmp_path / "f.h5", layers, arrays(layers)))
    assert document.settings["layers"][0]["kind"] == "conv" and document.patch_px == 128


def changed(layers: list[dict], name: str, **config: Any) -> list[dict]:
    return [{**v, "config": {**v["config"], **config}} if v["name"] == name else v for v in layers]


LAYERS = network()
STRANGE = {"class_name": "Capsule", "name": "caps", "config": {"name": "caps"}}
FAULTS: dict[str, tuple[list[dict], str]] = {
    "unknown kinds": (
        [*LAYERS[:3], STRANGE, {**STRANGE, "class_name": "LSTM", "name": "l"}, *LAYERS[3:]],
        "Capsule.*LSTM",
    ),
    "activation": (changed(LAYERS, "encoded", activation="tanh"), "activation tanh"),
    "channels first": (changed(LAYERS, "conv2d_1", data_format="channels_first"), "channels first"),
    "oblong kernel": (changed(LAYERS, "conv2d_1", kernel_size=[3, 5]), "kernel_size"),
    "other size": (changed(LAYERS, "input_1", batch_input_shape=[None, 96, 96, 3]), "96 px"),
    "grey": (changed(LAYERS, "input_1", batch_input_shape=[None, 64, 64, 1]), "RGB"),
    "no code": (LAYERS[:-2], "not a code"),
    "another length": (changed(LAYERS, "encoded", units=7), "encoded/kernel"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_encoder_is_refused_in_a_sentence(tmp_path: Path, fault: str) -> None:
    layers, words = FAULTS[fault]
    path = flat_file(tmp_path / "f.h5", layers, arrays(LAYERS))
    with pytest.raises(InputError, match=words) as caught:
        import_encoder(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_and_missing_arrays_are_told_at_once(tmp_path: Path) -> None:
    held = arrays(LAYERS)
    held["conv2d_1"]["kernel"] = held["conv2d_1"]["kernel"][:2]
    held["conv2d_2"]["bias"][0] = np.nan
    del held["batch_normalization_1"]["moving_mean"]
    with pytest.raises(InputError, match=r"conv2d_1/kernel.*batch_normalization_1/moving_mean.*conv2d_2/bias"):
        import_encoder(flat_file(tmp_path / "f.h5", LAYERS, held))


def test_two_outputs_are_no_code(tmp_path: Path) -> None:
    import json

    path = flat_file(tmp_path / "vae.h5", LAYERS, arrays(LAYERS))
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["output_layers"].append(["flatten_1", 0, 0])
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(InputError, match="2 outputs.*mean"):
        import_encoder(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    whole = flat_file(tmp_path / "whole.h5", LAYERS, arrays(LAYERS)).read_bytes()
    for name, data in {"text": b"hello", "short": whole[: len(whole) // 2], "empty": b""}.items():
        (tmp_path / f"{name}.h5").write_bytes(data)
        with pytest.raises(InputError, match="is no encoder that Keras 2 saved"):
            geryon.load_encoder(tmp_path / f"{name}.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="no Keras model"):
        geryon.load_encoder(tmp_path / "other.h5")
    with pytest.raises(InputError, match="no such file"):
        geryon.load_encoder(tmp_path / "none.h5")


def test_without_h5py_the_one_install_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[encoders\]"'):
        import_encoder(tmp_path / "f.h5")
