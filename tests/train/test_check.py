"""The check before training: every fault of a recipe and of its files at once, before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from geryon.cli import main
from geryon.errors import GeryonError, InputError, UsageError
from geryon.events import nobody
from geryon.train.begin import build
from geryon.train.check import check, start_document
from geryon.train.recipe import read_recipe
from geryon.train.transfer import plan
from tests.conftest import ROOT
from tests.nets import hubs
from tests.train import own_fakes
from tests.train.fakes import blobs, image, mask

WEIGHT = "lateral.0.weight"
SMALL = {"settings": {"encoder": "plain", "decoder": [4, 4, 4, 4, 4]}}


def written(root: Path, *makers: str, **change: Any) -> Path:
    """A recipe with those formats as sources, whose folders lie beside it."""
    sources = [{"name": maker, **own_fakes.MAKERS[maker](root / maker)} for maker in makers]
    document: dict[str, Any] = {
        "name": "mine",
        "licence": "open",
        "tasks": list(dict.fromkeys(source["task"] for source in sources)),
        "sources": sources,
        "net": SMALL,
        "split": {"validation": 0.5},
        "train": {"steps": 2, "batch": 2, "crop_px": 64, "threads": 0, "device": "cpu", "precision": "float32"},
    } | change
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def changed(path: Path, change: Any) -> Path:
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))
    return path


def refusal(path: Path) -> GeryonError:
    with pytest.raises(GeryonError) as caught:
        check(path, data=path.parent)
    return caught.value


def test_a_recipe_without_faults_says_what_would_be_learnt(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", "class_folders")
    checked = check(path, data=tmp_path)
    assert checked.lines == (
        "label_masks: 3 images of 2 groups (1 train, 2 validation), 0.5 µm/px; spread by inflammatory",
        "class_folders: 6 images of 2 groups (2 train, 4 validation), 0.5 µm/px; spread by stroma, tumour",
    )
    assert len(checked.items) == 9


def test_faults_of_the_document_and_of_two_sources_are_told_together(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", "class_folders")
    (tmp_path / "label_masks/masks/case1_a.png").unlink()
    mask(tmp_path / "label_masks/masks/case2_a.png", np.ones((4, 4)))
    image(tmp_path / "class_folders/LYM/case1_z.png")
    changed(path, lambda d: d["train"].update(stesp=3))
    error = refusal(path)
    assert isinstance(error, UsageError) and error.exit_code == 2
    lines = str(error).splitlines()
    assert "4 faults" in lines[0]
    for text in (
        "train.stesp: there is no such setting; did you mean steps?",
        "label_masks: images/case1_a.png: the image has no mask",
        "label_masks: masks/case2_a.png: the mask has 4 x 4 px, its image 96 x 96",
        "class_folders: LYM: is not in classes",
    ):
        assert any(text in line for line in lines), lines


def test_where_only_files_are_wrong_the_inputs_are_at_fault(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks")
    (tmp_path / "label_masks/masks/case1_a.png").unlink()
    error = refusal(path)
    assert isinstance(error, InputError) and error.exit_code == 3


def test_settings_of_the_network_are_told_before_anything_is_packed(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", net={"settings": {"encoder": "huge", "widht": 3}})
    (tmp_path / "label_masks/masks/case1_a.png").unlink()
    text = str(refusal(path))
    assert "there is no setting 'widht'" in text and "encoder is 'huge', must be one of" in text
    assert "the image has no mask" in text


@pytest.mark.parametrize(
    ("train", "validation", "says"),
    [
        ({"best": "nuclei/outside dice"}, 0.5, "train.best: no figure .*nuclei/inside dice, .*nuclei/class accuracy"),
        ({"best": "nuclei/inside dice"}, 0, r"train\.best: .*split\.validation above 0"),
        ({"map_losses": {"nuclei/inside": "hinge"}}, 0.5, "train.map_losses: no loss is called 'hinge'"),
    ],
)
def test_wishes_that_can_not_be_met_are_told_before_anything_is_packed(
    train: dict[str, Any], validation: float, says: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "label_masks", train={"steps": 2, **train}, split={"validation": validation})
    error = refusal(path)
    assert error.exit_code == 2
    assert re.search(says, str(error)), str(error)


def test_a_start_that_the_licence_forbids_or_nobody_has_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", net={**SMALL, "start": "geryon-s-research"})
    assert "geryon-s-research is for research only, the recipe's licence is open" in str(refusal(path))
    path = written(tmp_path, "label_masks", net={**SMALL, "start": "none.safetensors"})
    assert "there is no such model file" in str(refusal(path))


def test_a_start_may_lie_in_a_folder_of_ones_own_or_on_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = {"name": "geryon-b", "settings": hubs.SETTINGS}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GERYON_MODELS", str(tmp_path))
    (tmp_path / "hub").mkdir()
    client = hubs.Client(tmp_path / "hub", monkeypatch)
    digest = hubs.small_model(tmp_path / "lab.safetensors")
    hubs.small_model(tmp_path / "bound.safetensors", name="bound", use="research")
    (tmp_path / "hub/b.safetensors").write_bytes((tmp_path / "lab.safetensors").read_bytes())
    for start in ("lab", f"hub:lab/models/b.safetensors@v1#sha256={digest}"):
        recipe = read_recipe(written(tmp_path, "label_masks", net={**net, "start": start}))
        assert check(recipe, data=tmp_path).recipe.net.start == start
        network = build(recipe, plan(recipe, start_document(recipe)), nobody)
        assert np.allclose(network.state_dict()[WEIGHT].numpy(), hubs.small_tensors()[WEIGHT], atol=1e-3)
    assert len(client.calls) == 1
    for start, says in (
        ("bound", "bound is for research only, the recipe's licence is open"),
        (
            "lba",
            "no model is called 'lba'; choose one of bound, geryon-s, geryon-s-research,",
        ),
        (f"hub:lab/models/b.safetensors@v1#sha256={'0' * 64}", f"has SHA-256 {digest}, not 000"),
    ):
        assert says in str(refusal(written(tmp_path, "label_masks", net={**net, "start": start})))


def test_a_public_source_that_is_not_there_is_told_with_its_own_files(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks")
    (tmp_path / "label_masks/masks/case1_a.png").unlink()
    changed(path, lambda d: d["sources"].append({"name": "tnbc"}))
    lines = str(refusal(path)).splitlines()
    assert any(line.strip().startswith("tnbc: ") for line in lines) and any("no mask" in line for line in lines)


def test_a_split_that_leaves_nothing_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", split={"folds": 5})
    assert "label_masks: the split has 5 folds and the source 2 groups" in str(refusal(path))
    path = written(tmp_path, "label_masks", split={"folds": 2, "fold": 4})
    assert "split: fold is 4, must be 0 to 1" in str(refusal(path))


SAID = {
    "fromat": (lambda s: s.update(fromat=s.pop("format")), "fromat: there is no such setting; did you mean format?"),
    "masks": (lambda s: s.update(label="x"), "label: there is no such setting; did you mean labels?"),
    "task": (lambda s: s.update(task="glands"), "task: 'glands' is none of the recipe's tasks (nuclei)"),
    "format": (
        lambda s: s.update(format="labelmasks"),
        "format: no format is called 'labelmasks' (there are: boxes",
    ),
    "class": (
        lambda s: s.update(classes={1: "epitelial"}),
        "classes.1: nuclei has no class 'epitelial' (there are: epithelial, inflammatory, neutrophil",
    ),
    "number": (
        lambda s: s.update(classes={"a": "other"}),
        "classes: labels of label_masks are whole numbers",
    ),
    "group": (lambda s: s.update(group="case.*"), "group: has no (group) that names what belongs together"),
    "pattern": (lambda s: s.update(group="("), "group: is no regular expression"),
    "no group": (lambda s: s.pop("group"), "group: is missing"),
    "mpp": (lambda s: s.update(mpp=250), "mpp: 250 is no µm per pixel of tissue"),
    "known": (lambda s: s.update(known="image"), "known: the format label_masks does not read it"),
    "use": (
        lambda s: s.update(use="research"),
        "name: label_masks is for research (ours), the recipe's licence",
    ),
    "name": (lambda s: s.update(name="glas"), "name: is that of a public source; choose another"),
    "objects": (lambda s: s.update(objects="numbers"), "objects: with numbers of objects, class_labels must say where"),
    "unclear": (lambda s: s.update(objects="some"), "objects: Input should be '', 'numbers', 'pieces' or 'area'"),
}


@pytest.mark.parametrize("case", SAID)
def test_a_wrong_setting_of_a_source_is_told_with_its_place(case: str, tmp_path: Path) -> None:
    change, says = SAID[case]
    path = changed(written(tmp_path, "label_masks"), lambda d: change(d["sources"][0]))
    error = refusal(path)
    assert error.exit_code == 2 and f"sources[0].{says}" in str(error)


def test_a_setting_of_own_sources_beside_a_public_one_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks")
    changed(path, lambda d: d["sources"].append({"name": "tnbc", "mpp": 0.5}))
    assert "sources[1].mpp: there is no such setting of a public source" in str(refusal(path))


def test_names_of_sources_in_the_split_are_checked(tmp_path: Path) -> None:
    split = {"held_out": {"lable_masks": ["case1"]}, "train_only": ["nothing"]}
    text = str(refusal(written(tmp_path, "label_masks", split=split)))
    assert "split.held_out.lable_masks: the recipe has no such source; did you mean label_masks?" in text
    assert "split.train_only[0]: the recipe has no such source" in text


def test_held_out_groups_can_stand_in_a_file_with_other_sources(tmp_path: Path) -> None:
    path = written(tmp_path, "label_masks", split={"validation": 0, "held_out": {"file": "away.yaml"}})
    (tmp_path / "away.yaml").write_text("glas: [testA*]\nlabel_masks: [case1]\n")
    checked = check(path, data=tmp_path)
    assert checked.recipe.split.held_out == {"label_masks": ("case1",)}
    assert "(1 train, 2 held out)" in checked.lines[0]
    (tmp_path / "away.yaml").write_text("label_masks: [7]\n")
    assert "split.held_out.label_masks[0]: " in str(refusal(path))
    (tmp_path / "away.yaml").unlink()
    assert "split.held_out.file: away.yaml: can't be read" in str(refusal(path))


def test_patients_torn_apart_and_names_that_nothing_has_are_told(tmp_path: Path) -> None:
    split = {"validation": 0, "held_out": {"label_masks": ["case1_a", "case9"]}}
    lines = check(written(tmp_path, "label_masks", split=split), data=tmp_path).lines
    assert "split.held_out names what no group or image is called: label_masks case9" in lines
    assert "groups of which some images are held out and others are not: label_masks case1" in lines


def test_the_command_checks_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "label_masks")
    assert main(["fit", str(path), "--check", "--data", str(tmp_path)]) == 0
    assert "label_masks: 3 images of 2 groups" in capsys.readouterr().out
    (tmp_path / "label_masks/masks/case1_a.png").unlink()
    assert main(["fit", str(path), "--check", "--data", str(tmp_path)]) == 3
    assert "the image has no mask" in capsys.readouterr().err
    changed(path, lambda d: d.update(tasks=["bones"]))
    assert main(["fit", str(path), "--out", str(tmp_path / "run"), "--data", str(tmp_path)]) == 2
    assert not (tmp_path / "run").exists(), "nothing begins before all is right"


def test_own_annotations_are_learnt_from_and_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "label_masks")
    data, out = ["--data", str(tmp_path)], tmp_path / "run"
    assert main(["fit", str(path), "--out", str(out), *data]) == 0
    saved = json.loads((out / "split.json").read_text())
    assert {c["side"] for c in saved["cases"]} == {"train", "validation"}
    assert main(["fit", str(path), "--out", str(out), *data]) == 0, "the same command goes on from a whole run"
    model = str(out / "mine.safetensors")
    capsys.readouterr()
    own = ["--recipe", str(path), "--source", "label_masks", *data]
    figures = tmp_path / "figures.json"
    assert main(["evaluate", model, *own, "--split", str(out / "split.json"), "--json", str(figures)]) == 0
    assert "were not held out" not in capsys.readouterr().err
    rows = json.loads(figures.read_text())["rows"]
    seen = sum(c["side"] == "train" for c in saved["cases"])
    assert {row["source"] for row in rows} == {"label_masks"} and {r["images"] for r in rows} == {3 - seen}
    assert main(["evaluate", model, "--recipe", str(path), "--source", "label_mask", *data]) == 2
    assert "did you mean label_masks?" in capsys.readouterr().err
    assert main(["evaluate", model, "--source", "glas"]) == 2
    changed(path, lambda d: d["split"].update(seed=1, validation=0))
    assert main(["fit", str(path), "--out", str(out), *data]) == 2
    assert "the split would change for" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["own-nuclei", "own-glands"])
def test_recipes_for_own_annotations_are_short_and_fit_tiny_folders(name: str, tmp_path: Path) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    assert 10 <= len(lines) <= 30
    recipe = read_recipe(path)
    [own] = [choice for choice in recipe.sources if choice.name == "mylab"]
    for k in range(5):
        stem = f"case{k}_1"
        if own.format == "geojson":
            own_fakes.slide(tmp_path / "mylab/images" / f"{stem}.svs", k)
            cells = [own_fakes.feature(c, "Polygon", [own_fakes.square(30, 30, 9)]) for c in (*own.names, "Tissue")]
            region = own_fakes.feature("Region", "Polygon", [own_fakes.square(9, 9, 99)])
            (tmp_path / "mylab/annotations").mkdir(exist_ok=True)
            (tmp_path / "mylab/annotations" / f"{stem}.geojson").write_text(json.dumps([region, *cells]))
        else:
            image(tmp_path / "mylab/images" / f"{stem}.png", k)
            mask(tmp_path / "mylab/masks" / f"{stem}.png", blobs())
            mask(tmp_path / "mylab/grades" / f"{stem}.png", np.where(blobs() > 0, 1 + k % 2, 0))
    lines_told = check(recipe, data=tmp_path).lines
    assert "mylab: 5 images of 5 groups (4 train, 1 validation)" in lines_told[0]
