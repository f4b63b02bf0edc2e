"""Probes: what codes know is found, what they do not know is not, and intervals and differences mean what they say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from geryon.errors import InputError, UsageError
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.weights import SourceDocument
from geryon.train import leaks
from geryon.train.encoders.figures import Figure, figures_of
from geryon.train.encoders.probe import ProbeSettings, answers, folds_of
from geryon.train.encoders.probing import Probed, differences, probe, read_probed, table
from tests.train.encoders import made

QUICK = ProbeSettings(folds=3, seeds=(0,), steps=40, batch=32)


def figures(codes: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Any:
    folds = groups % 4
    said = answers(codes.astype(np.float32), labels, folds, classes=3, settings=replace(QUICK, seeds=(0, 1)))
    return figures_of(said, labels, groups.astype(str))


def test_separable_codes_are_told_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(3, size=300), np.arange(300) % 20
    clear = figures(np.eye(8)[labels] * 4 + rng.normal(size=(300, 8)) * 0.3, labels, groups)
    noise = figures(rng.normal(size=(300, 8)), labels, groups)
    assert clear["balanced_accuracy"].value > 0.98 and clear["auc"].value > 0.99
    assert 0.2 < noise["balanced_accuracy"].value < 0.47 and 0.4 < noise["auc"].value < 0.6
    low, high = noise["balanced_accuracy"].low_high
    assert low < 1 / 3 < high and len(noise["auc"].seeds) == 2


def test_what_only_tells_groups_apart_is_worth_nothing() -> None:
    """A code that names the group would be perfect on patches of groups that were learnt from."""
    groups = np.arange(400) % 40
    labels = (groups // 3) % 3
    found = figures(np.eye(40)[groups] * 5, labels, groups)
    assert found["balanced_accuracy"].value < 0.55


def test_folds_keep_groups_whole_and_spread_classes() -> None:
    patches = made.patches("glas", groups=9, places=5)
    folds = folds_of(patches, 3)
    by_group = {group: set(folds[patches.groups == group].tolist()) for group in set(patches.groups)}
    assert all(len(found) == 1 for found in by_group.values()) and set(folds.tolist()) == {0, 1, 2}
    for fold in range(3):
        assert set(patches.labels[folds == fold].tolist()) == {0, 1}


def test_figures_are_those_of_their_definition() -> None:
    rng = np.random.default_rng(1)
    labels, groups = rng.integers(2, size=60), (np.arange(60) % 6).astype(str)
    p = np.round(rng.random(60), 1)  # with ties
    found = figures_of(np.stack([1 - p, p], axis=1)[None], labels, groups)
    pairs = [(a > b) + 0.5 * (a == b) for a in p[labels == 1] for b in p[labels == 0]]
    assert np.isclose(found["auc"].value, np.mean(pairs))
    said = (p > 0.5).astype(int)
    assert np.isclose(found["balanced_accuracy"].value, np.mean([(said[labels == k] == k).mean() for k in (0, 1)]))


def test_drawn_figures_are_those_of_the_drawn_groups() -> None:
    rng = np.random.default_rng(2)
    labels, groups = np.tile([0, 1], 20), np.repeat(np.arange(4), 10)
    p = np.clip(rng.normal(0.3 + 0.4 * labels, 0.3), 0, 1)
    said = np.stack([1 - p, p], axis=1)[None]
    found = figures_of(said, labels, groups.astype(str))
    counts = np.random.default_rng(0).multinomial(4, np.full(4, 0.25), size=1000)
    rows = np.concatenate([np.flatnonzero(groups == g) for g in range(4) for _ in range(counts[7][g])])
    again = figures_of(said[:, rows], labels[rows], groups[rows].astype(str))
    for name in found:
        assert np.isclose(found[name].drawn[7], again[name].value, atol=1e-5)


@dataclass(frozen=True, kw_only=True)
class Mean:
    """Stands for an encoder: mean colour, or nothing at all."""

    blind: bool = False
    document: EncoderDocument = field(
        default_factory=lambda: EncoderDocument(name="mean", version="0", topology="layered", patch_px=32, code=3)
    )
    name: str = "mean"
    sha256: str = "0"
    mpp: float = 0.5
    patch_px: int = 32

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        assert patches.shape[1:] == (32, 32, 3)
        mean = patches.mean(axis=(1, 2)).astype(np.float32)
        return np.random.default_rng(len(mean)).normal(size=mean.shape).astype(np.float32) if self.blind else mean


def test_two_encoders_are_compared_by_the_same_draws() -> None:
    patches = made.patches("glas", groups=12, places=6)
    sees, blind = (probe(Mean(blind=b), patches, QUICK) for b in (False, True))  # type: ignore[arg-type]
    assert sees.figures["balanced_accuracy"].value > 0.95 and sees.groups == 12
    change, low, high = differences(blind, sees)["balanced_accuracy"]
    assert low < change < high < 0
    same = differences(sees, sees)["auc"]
    assert same == (0.0, 0.0, 0.0)
    text = "\n".join(table([sees, blind]))
    assert text.count("\n") == 5 and "| glas | mean | auc |" in text
    again = read_probed(sees.document())
    assert again.figures["auc"].value == sees.figures["auc"].value and again.groups == 12


def test_groups_that_an_encoder_learnt_from_are_not_scored() -> None:
    patches = made.patches("glas", groups=8, places=4)
    source = SourceDocument(name="glas", licence="", use="research")
    learnt = replace(Mean().document, sources=(source,), use="research")
    some = probe(Mean(document=replace(learnt, held_out={"glas": ("g1", "g2")})), patches, QUICK)  # type: ignore[arg-type]
    assert some.groups == 2 and some.patches == 8 and "only groups" in some.note
    every = probe(Mean(document=learnt), patches, QUICK)  # type: ignore[arg-type]
    assert every.groups == 8 and "too good" in every.note
    unlabelled = probe(Mean(document=learnt), patches, QUICK, taught=False)  # type: ignore[arg-type]
    assert unlabelled.groups == 8 and "without labels" in unlabelled.note
    assert differences(some, every) == {}
    lines = table([some, every])
    assert "| only groups that it did not learn from are scored |" in lines[2]
    assert "|  | it learnt from these groups: too good |" in lines[-1], "no difference of unlike places"


def test_images_that_stand_in_a_source_that_was_learnt_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = replace(Mean().document, sources=(SourceDocument(name="kather_crc", licence="", use="open"),))
    patches = made.patches("glas", groups=6, places=4)
    assert probe(Mean(document=learnt), patches, QUICK).note == ""  # type: ignore[arg-type]
    monkeypatch.setattr(leaks, "shared", lambda a, b: f"{a.name} holds images of {b.name} again")
    assert "kather_crc holds images of glas again" in probe(Mean(document=learnt), patches, QUICK).note  # type: ignore[arg-type]


def test_one_group_can_not_be_probed() -> None:
    with pytest.raises(InputError, match="the source glas has one group"):
        folds_of(made.patches("glas", groups=1), 5)
    with pytest.raises(UsageError, match="folds is 1"):
        ProbeSettings(folds=1)


def test_a_figure_without_any_pair_is_not_a_number() -> None:
    found = figures_of(np.full((1, 4, 2), 0.5), np.zeros(4, int), np.array(list("aabb")))
    assert np.isnan(found["auc"].value) and isinstance(found["auc"], Figure)
    assert isinstance(Probed(encoder="e", sha256="", task="glas", figures=found, patches=4, groups=2).document(), dict)


@pytest.mark.parametrize("folds", [2, 5])
def test_more_folds_than_groups_are_as_many_as_groups(folds: int) -> None:
    patches = made.patches("glas", groups=2, places=3)
    assert len(set(folds_of(patches, folds).tolist())) == min(folds, 2)
