"""One step of the published network by our losses against the reference (shared/reference/cerberus).

Losses after the heads' weights to 1e-3; gradients to 1 %, where the reference has the type decoders' gradients
restored, for the public code had cut them off.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geryon.nets.topologies import cerberus
from geryon.tasks import published
from geryon.train.losses import get_loss
from tests.conftest import shared_folder

WEIGHTS = {
    "lumina/inst": ("Lumen-INST", 1.5),
    "glands/inst": ("Gland-INST", 1.4),
    "nuclei/inst": ("Nuclei-INST", 1.0),
    "glands/class": ("Gland-TYPE", 1.0),
    "nuclei/class": ("Nuclei-TYPE", 1.0),
}
PLACES = {"glands": ("Gland", 0), "lumina": ("Lumen", 1), "nuclei": ("Nuclei", 2)}
"""Published name, and the image of the batch that has its labels."""


def folder() -> Path:
    return shared_folder("reference", "cerberus")


def expected(case: str) -> dict[str, Any]:
    cases: dict[str, Any] = json.loads((folder() / "train_step_seed1.json").read_text())["cases"]
    return cases[case]


@cache
def network() -> cerberus.Cerberus:
    spec = importlib.util.spec_from_file_location("make_weights", folder() / "make_weights.py")
    assert spec is not None and spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    module = cerberus.build({}, cerberus.ALL_HEADS)
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in rule.make_state_dict(1).items()})
    return module.train()


def images(name: str) -> Tensor:
    with np.load(folder() / "train_step_input.npz") as file:
        return torch.from_numpy(file[name]).permute(0, 3, 1, 2).contiguous()


def labels(name: str) -> tuple[Tensor, Tensor]:
    """Target and weight of a map, of the three images; those of other sources know nothing of it."""
    task, kind = name.split("/")
    published_name, place = PLACES[task]
    with np.load(folder() / "targets.npz") as file:
        if kind == "inst":
            parts, weight, channels = file[f"{published_name}_target"], file[f"{published_name}_weight"], 3
        else:
            of_class = np.array([0.0, *published.CLASS_WEIGHTS[task]], np.float32)
            parts = file[f"{published_name}_type_target"]
            weight, channels = of_class[parts], len(of_class)
    target = torch.zeros(3, channels, 144, 144)
    target[place] = torch.from_numpy(np.eye(channels, dtype=np.float32)[parts]).permute(2, 0, 1)
    known = torch.zeros(3, 144, 144)
    known[place] = torch.from_numpy(weight)
    return target, known


def losses() -> dict[str, Tensor]:
    tasks = {task.name: task for task in published.CERBERUS}
    taps = network().taps(images("seg_images"))
    parts = {}
    for name, (_, weight) in WEIGHTS.items():
        task, kind = name.split("/")
        parts[name] = weight * get_loss(tasks[task].map(kind).loss)(network().decode(name, taps, 0), *labels(name))
    return parts


def patch_loss() -> Tensor:
    """Of crops whose class is one for all: the published head's one cell, so the loss is that of tissue."""
    with np.load(folder() / "train_step_input.npz") as file:
        classes = torch.from_numpy(file["class_labels"])
    head = network().decoder_head["Patch-Class"]
    head.training = False  # its dropout, not its norms
    logits = network().patch_class(network().backbone(images("class_images") / 255.0)[4])
    target = torch.nn.functional.one_hot(classes, cerberus.TISSUE_CLASSES).float()[:, :, None, None]
    return 0.4 * get_loss(published.TISSUE.map("class").loss)(logits, target, torch.ones(len(classes), 1, 1))


def test_losses_are_the_published_ones() -> None:
    wanted = expected("seg_corrected_nuclei_type_weight_1")["losses"]
    with torch.no_grad():
        got = losses()
    for name, (head, _) in WEIGHTS.items():
        assert got[name].item() == pytest.approx(wanted[f"{head}_loss"], rel=1e-3), name
    assert sum(got.values()).item() == pytest.approx(wanted["overall_loss"], rel=1e-3)


def test_the_patch_loss_is_the_published_one() -> None:
    wanted = expected("patch_class_dropout_off")["losses"]["overall_loss"]
    with torch.no_grad():
        assert patch_loss().item() == pytest.approx(wanted, rel=1e-3)


def check_gradients(loss: Tensor, case: str) -> None:
    network().zero_grad(set_to_none=True)
    loss.backward()
    own = {name: parameter.grad for name, parameter in network().named_parameters()}
    wanted = expected(case)["grad_norms"]
    assert len(wanted) > 15
    for name, norm in wanted.items():
        found = own[name]
        assert (norm is None) == (found is None), name
        if norm is not None and found is not None:
            assert found.norm().item() == pytest.approx(norm, rel=0.01, abs=1e-6), name
    total = torch.stack([g.norm() for g in own.values() if g is not None]).norm().item()
    assert total == pytest.approx(expected(case)["grad_norm_total"], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "nucleus_types"), [("seg_corrected", 0.0), ("seg_corrected_nuclei_type_weight_1", 1.0)]
)
def test_gradients_are_the_published_ones(case: str, nucleus_types: float) -> None:
    parts = losses()
    check_gradients(sum(parts.values()) - (1.0 - nucleus_types) * parts["nuclei/class"], case)


@pytest.mark.slow
def test_gradients_of_the_patch_loss_are_the_published_ones() -> None:
    check_gradients(patch_loss(), "patch_class_dropout_off")
