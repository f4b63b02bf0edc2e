"""A recipe of an encoder: every shipped one can be read, and all faults are told at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from geryon.cli import main
from geryon.errors import UsageError
from geryon.train.encoders.bodies import make_body
from geryon.train.encoders.experiment import tries
from geryon.train.encoders.experiment_check import read_encoder_experiment
from geryon.train.encoders.recipe import parse_encoder_recipe, read_encoder_recipe
from tests.conftest import ROOT
from tests.train.encoders import made

RECIPES = sorted((ROOT / "recipes" / "encoders").glob("*.yaml"))
EXPERIMENTS = sorted((ROOT / "recipes" / "experiments").glob("encoders_*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_can_be_read(path: Path) -> None:
    recipe = read_encoder_recipe(path)
    assert recipe.name == path.stem or recipe.name.startswith("geryon")


def test_there_is_a_recipe_for_each_body_and_baseline() -> None:
    found = [read_encoder_recipe(path).encoder for path in RECIPES]
    assert {"nic-64", "nic-128", "lite0", "geryon-s", "mean-rgb"} <= {choice.body for choice in found}
    assert {"supervised", "vae", "contrastive", "bigan", "lejepa", "none"} <= {choice.objective for choice in found}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_shipped_experiments_leave_the_probed_task_out(path: Path) -> None:
    every = list(tries(read_encoder_experiment(path), folder=path.parent))
    taught = [one for one in every if one.recipe and one.recipe.encoder.objective == "supervised"]
    assert taught and all(one.recipe and one.task not in one.recipe.tasks for one in taught)


PLATEAU = {"schedule": "plateau", "validate_steps": 2}


def wrong(**changes: Any) -> str:
    with pytest.raises(UsageError) as told:
        made.recipe(**changes)
    return str(told.value)


def test_all_faults_are_told_at_once() -> None:
    raw = {
        "name": "no name/",
        "licence": "research",
        "encoder": {"bdy": "nic-64", "body": "nic-65", "objective": "gan"},
        "tasks": ["glas", "lc25000", "galss", "glas"],
        "train": {"task_weights": {"kather": 1}, "augment": {"preset": "hed-lihgt"}},
        "split": {"held_out": {"conseb": ["a"]}},
    }
    with pytest.raises(UsageError) as told:
        parse_encoder_recipe(raw, folder=ROOT, where="x")
    text = str(told.value)
    for part in (
        "encoder.bdy: there is no such setting",
        "no body 'nic-65'",
        "no objective 'gan'",
        "no patch task 'galss'",
        "did you mean glas?",
        "glas stands twice",
        "lc25000 is of lc25000_colon, whose use is 'evaluate'; that needs licence: experiment",
        "train.task_weights.kather",
        "no preset is called 'hed-lihgt'",
        "split.held_out.conseb",
        "name: 'no name/'",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"licence": "open"}, "glas is of glas, whose use is 'research'; that needs licence: research"),
        ({"encoder": {"objective": "none"}}, "objective none goes with the body mean-rgb"),
        ({"encoder": {"body": "mean-rgb", "objective": "none"}}, "mean-rgb has a code of 3"),
        ({"encoder": {"width": 9}}, "width: is 9"),
        ({"train": {"best": True}}, "best needs validate_steps"),
        ({"train": {"batch": 2}}, "batch is 2"),
        ({"train": {"schedule": "step"}}, "schedule 'step' is unknown (cosine, plateau)"),
        ({"train": {"schedule": "plateau"}}, "schedule: plateau needs validate_steps"),
        ({"train": {"factor": 1, "patience": 0}}, "factor is 1.0, must be between 0 and 1; patience is 0"),
        ({"train": PLATEAU, "split": {"validation": 0}}, "train.schedule: plateau needs a validation, and the split"),
        ({"train": PLATEAU, "split": {"train_only": ["glas", "kather_crc"]}}, "the split leaves nothing to it"),
        (
            {"train": PLATEAU, "encoder": {"objective": "vae"}},
            "plateau needs a validation of classes, and the",
        ),
        ({"train": {**PLATEAU, "best": True}, "encoder": {"objective": "vae"}}, "train.best needs a validation of"),
        ({"tasks": []}, "names no task"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in wrong(**changes)


def test_a_source_to_evaluate_on_may_teach_experiments_alone() -> None:
    assert made.recipe(licence="experiment", tasks=["glas", "lc25000"]).licence == "experiment"


def test_a_start_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nic-64 has no ImageNet weights"):
        make_body(made.recipe(encoder={"start": "imagenet"}))


def test_the_schema_shows_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--show-schema"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == {"recipe", "encoder"}
    assert "objective" in shown["encoder"]["$defs"]["EncoderChoice"]["properties"]
    for name, kind in shown["encoder"]["$defs"].items():
        assert kind["additionalProperties"] is False, name


def test_options_of_other_documents_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(made.TINY))
    assert main(["fit", str(path), "--out", str(tmp_path / "out"), "--images", "3"]) == 2
    assert "--images is for a model's recipe" in capsys.readouterr().err
    assert main(["fit", str(path), "--check"]) == 3  # the recipe is right; no source lies here
    assert "glas" in capsys.readouterr().err


def test_a_batch_has_two_patches_of_each_task() -> None:
    tasks = ["glas", "kather", "consep", "crchisto", "ebhi"]
    with pytest.raises(UsageError, match="batch: is 9, must be at least 10"):
        made.recipe(tasks=tasks, train={"batch": 9})
    assert made.recipe(tasks=tasks, train={"batch": 10}).train.batch == 10
    assert made.recipe(tasks=tasks, train={"batch": 9}, encoder={"objective": "vae"}).train.batch == 9
