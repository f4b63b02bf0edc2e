"""Every registered task keeps the contract; nothing outside its file names it."""

from __future__ import annotations

import ast

import pytest

from geryon.tasks.task import TASKS
from geryon.testing.tasks import TaskContract
from tests.conftest import ROOT


@pytest.mark.parametrize("name", TASKS)
class TestTasks(TaskContract):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name


def test_losses_of_every_task_are_finite_with_and_without_labels() -> None:
    import torch

    from geryon.tasks.task import get_task
    from geryon.train.losses import get_loss

    for name in TASKS:
        for m in get_task(name).maps:
            logits = torch.randn(2, m.channels, 8, 8, requires_grad=True)
            target = torch.zeros(2, m.channels, 8, 8)
            target[:, 0] = 1.0
            for weight in (torch.ones(2, 8, 8), torch.zeros(2, 8, 8)):
                loss = get_loss(m.loss)(logits, target, weight)
                loss.backward()
                assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


ROOMS = ("flows", "nets", "store", "runtime", "space", "train")
MAY_NAME = ("train/sources", "nets/foreign", "store/export", "train/evaluate", "train/scoring", "train/floors")
"""A source says which tasks it labels, others' weights name their own, and protocols of evaluation are a task's own."""


def test_flows_and_trainer_do_not_name_tasks() -> None:
    faults = []
    for path in sorted((ROOT / "src" / "geryon").rglob("*.py")):
        place = path.relative_to(ROOT / "src" / "geryon").as_posix()
        if not place.startswith(ROOMS) or place.startswith(MAY_NAME):
            continue
        strings = [
            n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)
        ]
        faults += [f"{place}: {s}" for s in strings if s in TASKS and s != "tissue"]
    assert faults == []
