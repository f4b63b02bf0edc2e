"""Model files: what is written is read, and nothing else is."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from geryon.errors import InputError
from geryon.nets import weights
from geryon.nets.weights import ModelDocument, SourceDocument, TaskDocument, read_document, read_tensors, save_model
from geryon.tasks.calibration import Calibration
from geryon.tasks.task import get_task

DOCUMENT = ModelDocument(
    name="small",
    version="1.2",
    topology="geryon-s",
    settings={"encoder": "plain"},
    tasks=(
        TaskDocument(name="nuclei", classes=(("epithelial", ()), ("inflammatory", ("lymphocyte", "plasma")))),
        TaskDocument(name="lumina", mpp=4.0),
    ),
    sources=(SourceDocument(name="a|b", licence="CC BY 4.0", use="open", citation="Someone 2020", samples=3),),
    training={"steps": 10, "validation": {"nuclei": {"pq": 0.512345}}},
    calibration={"nuclei": {"class_temperature": 1.5}},
)


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "a.running_var": rng.random(4).astype(np.float32) * 1e-6,
        "a.num_batches_tracked": np.array(7),
        "b.weight": np.array([1e5, 1.0], np.float32),
    }


@pytest.fixture
def path(tmp_path, tensors):
    save_model(tmp_path / "m.safetensors", tensors, DOCUMENT)
    return tmp_path / "m.safetensors"


def test_model_files_are_read_by_whom_other_files_are_read_by(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    weights.save_tensors({"a": np.zeros(3, np.float32)}, tmp_path / "a.safetensors", metadata={"k": "v"})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_the_document_comes_back_as_it_was(path):
    assert read_document(path) == DOCUMENT


def test_tensors_come_back_in_half_precision_where_that_holds_them(path, tensors):
    back = read_tensors(path)
    assert set(back) == {"a.weight", "a.running_var", "b.weight"}
    assert back["a.weight"].dtype == np.float16
    assert np.allclose(back["a.weight"], tensors["a.weight"], rtol=2**-10, atol=1e-6)
    assert back["a.running_var"].dtype == np.float32 and np.array_equal(back["a.running_var"], tensors["a.running_var"])
    assert np.array_equal(back["b.weight"], tensors["b.weight"])


def test_half_can_be_refused(tmp_path, tensors):
    save_model(tmp_path / "m.safetensors", tensors, DOCUMENT, half=False)
    assert np.array_equal(read_tensors(tmp_path / "m.safetensors")["a.weight"], tensors["a.weight"])


def test_same_tensors_same_bytes_and_the_digest_is_the_files(tmp_path, tensors):
    one, two = (save_model(tmp_path / f"{i}.safetensors", tensors, DOCUMENT) for i in range(2))
    assert one == two == weights.file_sha256(tmp_path / "0.safetensors") and len(one) == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.safetensors", "1.safetensors"]


def test_tasks_take_the_models_own_classes_and_resolution():
    nuclei, lumina = DOCUMENT.task_values()
    assert nuclei.class_names == ("epithelial", "lymphocyte", "plasma")
    assert nuclei.map("class").channels == 3 and len(set(nuclei.colours)) == 3
    assert nuclei.mpp == get_task("nuclei").mpp and lumina.mpp == 4.0
    assert get_task("nuclei").class_names != nuclei.class_names


def test_tasks_carry_the_documents_calibration():
    nuclei, lumina = DOCUMENT.task_values()
    assert nuclei.calibration == Calibration(class_temperature=1.5) and lumina.calibration is None


def test_a_task_written_down_is_the_task():
    for name in ("nuclei", "glands", "lumina", "tissue"):
        task = get_task(name)
        [back] = replace(DOCUMENT, tasks=(weights.task_document(task),), calibration={}).task_values()
        assert back == task


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"a\.weight"):
        save_model(tmp_path / "m.safetensors", {"a.weight": np.array([np.nan], np.float32)}, DOCUMENT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 5, 8, 200, -1, -20])
def test_a_file_cut_short_is_refused(path, keep):
    raw = path.read_bytes()
    path.write_bytes(raw[:keep])
    for read in (read_document, read_tensors):
        with pytest.raises(InputError, match=str(path.name)):
            read(path)


def test_a_file_with_more_than_it_says_is_refused(path):
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(InputError, match="longer"):
        read_document(path)


@pytest.mark.parametrize(
    "header",
    [b"[]", b"{", b"\xff\xfe", b'{"a": 3}', b'{"a": {"data_offsets": []}}', b'{"a": {"data_offsets": ["x", "y"]}}'],
)
def test_a_damaged_header_is_refused(tmp_path, header):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match=r"bad\.safetensors"):
        read_document(path)


def test_a_header_longer_than_the_file_is_not_read(tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(InputError, match="cut short"):
        read_tensors(path)


def test_tensors_of_others_are_sent_to_the_importer(tmp_path):
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="import-weights"):
        read_document(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"use": "any"}, {"tasks": None}, {"tasks": [{"nam": "nuclei"}]}, {"sources": [{"name": "a"}]}],
)
def test_a_document_that_can_not_be_used_is_refused(tmp_path, change):
    raw = json.loads(json.dumps(weights.asdict(DOCUMENT))) | change
    path = tmp_path / "m.safetensors"
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={weights.KEY: json.dumps(raw)})
    with pytest.raises(InputError, match="document"):
        read_document(path)


def test_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_document(tmp_path / "none.safetensors")


def test_the_card_lists_every_source_with_its_terms_and_every_figure(tmp_path):
    weights.write_card(tmp_path / "m.md", DOCUMENT, sha256="ab" * 32)
    text = (tmp_path / "m.md").read_text(encoding="utf-8")
    assert "| a\\|b | CC BY 4.0 | open | 3 | Someone 2020 |" in text
    assert "| validation.nuclei.pq | 0.5123 |" in text and "| steps | 10 |" in text
    assert "| nuclei | 1.5 | 1 | 0 |" in text and "class temperature" in text
    assert "epithelial, lymphocyte, plasma" in text and "ab" * 32 in text
    assert "RESEARCH ONLY" in weights.card(replace(DOCUMENT, use="research")) and "RESEARCH ONLY" not in text


def test_reading_weights_does_not_load_torch():
    code = "import sys, geryon.nets.weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
