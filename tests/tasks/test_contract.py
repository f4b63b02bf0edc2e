"""Every registered task keeps the contract; nothing outside its file names it."""

from __future__ import annotations

import re

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
HOLDS_LABELS = ("train/sources", "nets/foreign", "store/export")
"""A source says which tasks it labels; others' weights and formats name their own."""


def test_flows_and_trainer_do_not_name_tasks() -> None:
    faults = []
    for path in sorted((ROOT / "src" / "geryon").rglob("*.py")):
        place = path.relative_to(ROOT / "src" / "geryon").as_posix()
        if not place.startswith(ROOMS) or place.startswith(HOLDS_LABELS):
            continue
        code = re.sub(r'""".*?"""|#[^\n]*', "", path.read_text(encoding="utf-8"), flags=re.S)
        faults += [f"{place}: {word}" for word in re.findall(r'"(nuclei|glands|lumina)"', code)]
    assert faults == []
