"""Encoders are trained, stopped, resumed and saved; every objective learns."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geryon.errors import InputError, UsageError
from geryon.nets.encoder import load_encoder
from geryon.nets.encoders.document import read_encoder
from geryon.nets.model import ResearchOnly
from geryon.train import split_file, splits
from geryon.train.encoders.bodies import make_body
from geryon.train.encoders.conducting import key_of
from geryon.train.encoders.feeding import make_batch
from geryon.train.encoders.fit import Fitted, Where, feed_of, fit_encoder, objective_of
from geryon.train.encoders.loop import step_once
from geryon.train.encoders.objectives import OBJECTIVES
from geryon.train.encoders.objectives.lejepa import sigreg
from geryon.train.encoders.pace import rate_at
from geryon.train.encoders.recipe import EncoderRecipe
from geryon.train.learner import choose_place, set_up
from tests.train.encoders import made


def run(recipe: EncoderRecipe, out: Path, stop: Callable[[], bool] = lambda: False) -> Fitted:
    return fit_encoder(recipe, out=out, where=Where(gathered=made.gathered(), stop=stop))


def after(steps: int) -> Callable[[], bool]:
    """Asked before each step: yes before step `steps`."""
    asked = iter(range(10_000))
    return lambda: next(asked) >= steps


def test_a_fit_leaves_an_encoder_with_its_terms_and_figures(tmp_path: Path) -> None:
    fitted = run(made.recipe(train={"steps": 30, "validate_steps": 15, "best": True, "lr": 0.005}), tmp_path)
    assert fitted.whole and fitted.encoder and fitted.step == 30
    assert fitted.figures["balanced_accuracy"] > 0.7, "the classes are colours"
    document, tensors = read_encoder(fitted.encoder)
    assert (document.use, document.code, document.patch_px) == ("research", 8, 64)
    assert {s.name: s.use for s in document.sources} == {"glas": "research", "kather_crc": "open"}
    assert document.training["tasks"] == ["glas", "kather"] and document.training["chosen"]["step"] in (15, 30)
    assert not any("head" in name for name in tensors)
    with pytest.warns(ResearchOnly):
        encoder = load_encoder(fitted.encoder, engine="cpu")
    assert encoder(np.zeros((3, 64, 64, 3), np.uint8)).shape == (3, 8)
    assert "RESEARCH ONLY" in fitted.encoder.with_suffix(".md").read_text()
    assert (tmp_path / "curves.html").exists() and "glas balanced_accuracy" in (tmp_path / "validation.csv").read_text()


def test_a_resumed_run_is_bit_for_bit_an_uninterrupted_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = made.recipe(train={"augment": {"preset": "hed-light"}, "threads": 2})
    whole = run(recipe, tmp_path / "whole")
    stopped = run(recipe, tmp_path / "parts", after(3))
    assert not stopped.whole and stopped.step == 3 and stopped.encoder is None
    resumed = run(recipe, tmp_path / "parts")
    assert resumed.step == 6 and resumed.sha256 == whole.sha256
    rows = [(tmp_path / name / "log.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert [row.split(",")[0] for row in rows[1]] == [row.split(",")[0] for row in rows[0]]


PLATEAU = {"schedule": "plateau", "validate_steps": 1, "patience": 1, "warmup": 0, "lr": 0.01, "log_steps": 1}


def test_the_rate_is_cut_where_validation_stops_improving() -> None:
    settings = made.recipe(train={**PLATEAU, "patience": 2, "lr_floor": 0.001}).train

    def rates(*judged: float) -> list[float]:
        return [rate_at(9, 0.5, judged[:n], settings) for n in range(len(judged) + 1)]

    assert rates(0.5, 0.6, 0.6, 0.7, 0.6, 0.7) == pytest.approx([0.01] * 6 + [0.001])
    assert rates(0.5, 0.4, float("nan"), 0.6, 0.5) == pytest.approx([0.01] * 3 + [0.001] * 3), (
        "a better one starts anew"
    )
    assert rates(*[0.5] * 20)[-1] == pytest.approx(1e-5), "no further than the floor"
    rising = replace(settings, warmup=0.2)
    assert [rate_at(9, part, [], rising) for part in (0.1, 0.2, 0.9)] == pytest.approx([0.005, 0.01, 0.01])


def test_a_resumed_plateau_is_that_of_an_uninterrupted_run(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    recipe = made.recipe(train=PLATEAU)
    whole = run(recipe, tmp_path / "whole")
    for steps in (2, 2):
        assert not run(recipe, tmp_path / "parts", after(steps)).whole
    resumed = run(recipe, tmp_path / "parts")
    assert resumed.step == 6 and resumed.sha256 == whole.sha256
    rates = [[row["lr"] for row in log_of(tmp_path / name)] for name in ("whole", "parts")]
    assert rates[0] == rates[1] and len(set(rates[0])) > 1, "it was cut, and in both at the same steps"


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_plateau_without_patches_to_validate_on_is_refused(tmp_path: Path) -> None:
    recipe = replace(made.recipe(train=PLATEAU), split=splits.Split(validation=0))
    with pytest.raises(UsageError, match="plateau needs patches to validate on"):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_settings_of_a_schedule_that_is_not_taken_change_no_key() -> None:
    plain, other = (made.recipe(train={"patience": n}) for n in (5, 9))
    assert key_of(plain) == key_of(other) and "schedule" not in plain.train.deciding()
    plateaus = [made.recipe(train={**PLATEAU, "patience": n}) for n in (5, 9)]
    assert len({key_of(each) for each in (plain, *plateaus)}) == 3


def test_groups_are_never_on_two_sides(tmp_path: Path) -> None:
    run(made.recipe(train={"steps": 1}, split={"held_out": {"glas": ["g1"]}}), tmp_path)
    cases = split_file.read(tmp_path / split_file.FILE)["cases"]
    sides = {(c["source"], c["group"]): {d["side"] for d in cases if d["group"] == c["group"]} for c in cases}
    by_source: dict[tuple[str, str], set[str]] = {}
    for case in cases:
        by_source.setdefault((case["source"], case["group"]), set()).add(case["side"])
    assert sides and all(len(found) == 1 for found in by_source.values())
    assert by_source["glas", "g1"] == {"held out"}
    assert {"train", "validation"} <= {side for found in by_source.values() for side in found}


def test_another_split_is_not_gone_on_with(tmp_path: Path) -> None:
    recipe = made.recipe()
    run(recipe, tmp_path, after(2))
    with pytest.raises(UsageError, match="the split would change"):
        run(replace(recipe, split=splits.Split(validation=0.5)), tmp_path)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_learns(name: str) -> None:
    """On one batch, again and again; of BiGAN the judge, which has the easier part."""
    recipe = made.recipe(encoder={"objective": name, "width": 0.1}, train={"lr": 0.003, "warmup": 0, "ema": 0.5})
    body = make_body(recipe)
    network = objective_of(recipe, body)
    feed = feed_of(recipe, list(made.gathered().values()), network)
    assert feed.by_class == (name == "supervised")
    batch = make_batch(0, feed)
    learner = set_up(network, recipe.train.loop(), choose_place(recipe.train.loop()))
    key = "judge" if name == "bigan" else "total"
    found = [float(step_once(learner, batch, recipe.train, recipe.train.lr)[key]) for _ in range(25)]
    assert np.mean(found[-3:]) < 0.9 * found[0], found


def test_only_the_judge_learns_to_judge_and_only_the_others_to_fool() -> None:
    recipe = made.recipe(encoder={"objective": "bigan", "width": 0.1})
    network = objective_of(recipe, make_body(recipe))
    from geryon.train.encoders.loop import seen

    losses = network.losses(
        seen(make_batch(0, feed_of(recipe, list(made.gathered().values()), network)), choose_place(recipe.train.loop()))
    )
    losses["judge"].backward(retain_graph=True)
    assert all(p.grad is None for p in network.encoder.parameters())
    before = {name: p.grad.clone() for name, p in network.judge.named_parameters() if p.grad is not None}
    losses["fooled"].backward()
    assert all((p.grad == before[name]).all() for name, p in network.judge.named_parameters() if name in before)
    assert any(p.grad is not None and p.grad.any() for p in network.encoder.parameters())


def test_sigreg_is_least_for_what_is_gaussian() -> None:
    torch.manual_seed(0)
    normal = torch.randn(512, 16)
    spread, collapsed = sigreg(3 * normal), sigreg(0.01 * normal)
    assert float(sigreg(normal)) < 2 < min(float(spread), float(collapsed))


def test_task_weights_change_the_total() -> None:
    plain, weighted = (made.recipe(train={"task_weights": weights}) for weights in ({}, {"glas": 0.0}))
    totals = []
    for recipe in (plain, weighted):
        network = objective_of(recipe, make_body(recipe))
        batch = make_batch(0, feed_of(recipe, list(made.gathered().values()), network))
        learner = set_up(network, recipe.train.loop(), choose_place(recipe.train.loop()))
        told = step_once(learner, batch, recipe.train, recipe.train.lr)
        totals.append((float(told["total"]), float(told["kather"]), float(told["glas"])))
    assert np.isclose(totals[0][0], totals[0][1] + totals[0][2]) and np.isclose(totals[1][0], totals[1][1])


def test_mean_rgb_needs_no_data_and_is_the_mean(tmp_path: Path) -> None:
    recipe = made.recipe(encoder={"body": "mean-rgb", "code": 3, "objective": "none"}, licence="open", tasks=["kather"])
    fitted = fit_encoder(recipe, out=tmp_path)
    assert fitted.encoder
    document, _ = read_encoder(fitted.encoder)
    assert document.sources == () and document.use == "open"
    patches = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    codes = load_encoder(fitted.encoder, engine="cpu")(patches)
    assert np.allclose(codes, patches.mean(axis=(1, 2)) / 127.5 - 1, atol=1e-5)


def test_an_experiment_stays_one_when_it_is_started_from(tmp_path: Path) -> None:
    first = run(made.recipe(licence="experiment", train={"steps": 1}), tmp_path / "a")
    assert first.encoder and read_encoder(first.encoder)[0].use == "experiment"
    with pytest.warns(ResearchOnly, match="is an experiment"):
        load_encoder(first.encoder, engine="cpu")
    begun = {"encoder": {"start": str(first.encoder)}, "train": {"steps": 1}}
    with pytest.raises(UsageError, match="is for experiment use"):
        make_body(made.recipe(**begun))
    second = run(made.recipe(licence="experiment", **begun), tmp_path / "b")
    assert second.encoder and read_encoder(second.encoder)[0].training["started_from"] == "tiny 0"


@pytest.mark.parametrize(
    ("held_out", "left"),
    [
        ({}, {}),  # what the first held out was learnt now
        ({"glas": ["g1", "g3"]}, {"glas": ("g1",)}),  # g3 was learnt by the first
        ({"glas": ["g3"], "kather_crc": ["g0"]}, {"glas": (), "kather_crc": ("g0",)}),
    ],
)
def test_held_out_is_what_neither_training_learnt(
    held_out: dict[str, list[str]], left: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    away = {"glas": ["g1", "g2"]}
    first = run(made.recipe(tasks=["glas"], train={"steps": 1}, split={"held_out": away}), tmp_path / "a")
    begun = made.recipe(encoder={"start": str(first.encoder)}, train={"steps": 1}, split={"held_out": held_out})
    second = run(begun, tmp_path / "b")
    assert second.encoder and first.encoder
    assert read_encoder(first.encoder)[0].held_out == {"glas": ("g1", "g2")}
    assert read_encoder(second.encoder)[0].held_out == left


def test_geryon_s_is_a_body_and_brings_its_sources() -> None:
    body = make_body(made.recipe(encoder={"body": "geryon-s"}))
    assert body.began.startswith("geryon-s") and {"consep", "kather_crc"} <= {source.name for source in body.sources}
    codes = body.module.eval()(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert codes.shape == (2, 8) and torch.isfinite(codes).all()


def test_sources_that_are_not_there_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        fit_encoder(made.recipe(), out=tmp_path / "out", where=Where(data=tmp_path))
    assert "glas" in str(told.value) and "kather_crc" in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_model_of_timm_is_a_body(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the extra `encoders` is not installed")
    fitted = run(made.recipe(encoder={"body": f"timm:{name}"}, train={"steps": 1, "batch": 8}), tmp_path)
    assert fitted.encoder
    codes = load_encoder(fitted.encoder, engine="cpu")(np.full((2, 64, 64, 3), 200, np.uint8))
    assert codes.shape == (2, 8) and np.isfinite(codes).all()
