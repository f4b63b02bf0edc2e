"""Losses against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geryon.cohort.losses import loss_of
from geryon.cohort.targets import TARGETS, get_target


def test_cox_by_hand() -> None:
    risk, time, event = torch.tensor([[0.5], [-1.0], [2.0]]), [3.0, 1.0, 2.0], [1.0, 1.0, 0.0]
    e = np.exp([0.5, -1.0, 2.0])
    expected = -((0.5 - np.log(e[0])) + (-1.0 - np.log(e.sum()))) / 2
    found = loss_of("survival", risk, torch.tensor([time, event]).T)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_cox_with_ties_is_breslows() -> None:
    found = loss_of("survival", torch.zeros(4, 1), torch.tensor([[2.0, 1], [2.0, 1], [5.0, 0], [9.0, 1]]))
    assert float(found) == pytest.approx((2 * np.log(4) + np.log(1)) / 3)


def test_a_batch_without_deaths_teaches_nothing() -> None:
    risk = torch.randn(3, 1, requires_grad=True)
    loss_of("survival", risk, torch.tensor([[1.0, 0], [2.0, 0], [3.0, 0]])).backward()
    assert (risk.grad == 0).all()


def test_the_ordinal_loss_is_the_log_of_the_answers() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.3, 0.1]])
    answers = get_target("ordinal").answers(logits.numpy())
    assert answers.sum(1) == pytest.approx([1.0, 1.0]) and (answers >= 0).all()
    expected = -np.log([answers[0, 1], answers[1, 2]]).mean()
    assert float(loss_of("ordinal", logits, torch.tensor([[1.0], [2.0]]))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", TARGETS)
def test_every_target_names_a_loss(kind: str) -> None:
    target = get_target(kind)
    truth = torch.tensor([[1.0, 1.0], [2.0, 1.0]])[:, : 2 if kind in ("survival", "multilabel") else 1]
    truth = truth.clamp(max=1.0) if kind in ("binary", "multilabel") else truth
    outputs = {"multiclass": 3, "ordinal": 2, "multilabel": 2}.get(kind, 1)
    assert torch.isfinite(loss_of(target.loss, torch.randn(2, outputs).sort(descending=True).values, truth))
