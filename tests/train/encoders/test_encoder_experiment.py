"""Experiments on encoders: what is probed was never taught, what is there is taken over, the table says who leads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geryon.errors import UsageError
from geryon.events import Advanced, Event
from geryon.train.encoders import conducting as module
from geryon.train.encoders.conducting import conduct, key_of
from geryon.train.encoders.experiment import EncoderExperiment, tries
from geryon.train.recipe import valid
from tests.train.encoders import made

TINY: dict[str, Any] = {
    "question": "Do other tasks help?",
    "encoders": {**made.TINY, "tasks": ["glas", "kather"], "train": {**made.TINY["train"], "steps": 2}},
    "runs": {"taught": {}},
    "once": {"vae": {"name": "vae", "encoder": {"objective": "vae", "width": 0.1}}},
    "others": {"colour": "mean-rgb"},
    "probe": {"folds": 2, "seeds": [0], "patches": 24, "steps": 20, "batch": 16},
}


def asked(**changes: Any) -> EncoderExperiment:
    return valid(EncoderExperiment, {**TINY, **changes}, where="tiny")


def test_what_is_left_out_is_not_learnt_and_counts_are_nested() -> None:
    tasks = ["glas", "kather", "consep", "crchisto", "ebhi"]
    wide = asked(encoders={**TINY["encoders"], "tasks": tasks}, counts=[1, 2, 4], seeds=[0, 1], once={}, others={})
    every = list(tries(wide))
    assert len(every) == 2 * 5 * 3
    for one in every:
        assert one.recipe and one.task not in one.recipe.tasks and len(one.recipe.tasks) == one.count
        assert one.recipe.train.seed == one.seed
    for seed in (0, 1):
        for task in tasks:
            learnt = [set(o.recipe.tasks) for o in every if o.recipe and (o.seed, o.task) == (seed, task)]
            assert learnt[0] < learnt[1] < learnt[2] == set(tasks) - {task}
    orders = {tuple(o.recipe.tasks) for o in every if o.recipe and (o.task, o.count) == ("glas", 1)}
    assert len({key_of(o.recipe) for o in every if o.recipe}) <= len(every) and orders


def test_each_task_may_bring_steps_of_its_own() -> None:
    wide = asked(encoders={**TINY["encoders"], "tasks": ["glas", "kather", "consep"]}, counts=[1, 2], steps_a_task=30)
    steps = {(one.count, one.recipe.train.steps) for one in tries(wide) if one.recipe and one.count}
    assert steps == {(1, 30), (2, 60)}


def test_places_in_the_names_of_others_are_filled() -> None:
    wide = asked(
        counts=[1], seeds=[0, 1], runs={}, once={}, others={"a": "x-{task}-{count}-{seed}.h5", "b": "mean-rgb"}
    )
    told = [(one.task, one.seed, one.count, one.other) for one in tries(wide) if one.label == "a"]
    assert ("glas", 1, 1, "x-glas-1-1.h5") in told and len(told) == 4
    assert sum(one.label == "b" for one in tries(wide)) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"once": {"taught twice": {}}}, "would learn the classes"),
        ({"runs": {}, "once": {}, "others": {}}, "neither runs nor others"),
        ({"counts": [1, 2]}, "counts goes beyond"),
        ({"left_out": ["consep"]}, "left_out names what is none"),
        ({"seeds": []}, "seeds is empty"),
        ({"steps_a_task": 30}, "steps_a_task is of counts"),
        ({"others": {"taught": "mean-rgb"}}, "a name stands for two"),
        ({"rnus": {}}, "no such setting"),
    ],
)
def test_faults_of_an_experiment(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(**changes)


def test_an_experiment_is_done_once_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLACES_UM", 32.0)
    given = {"glas": made.patches("glas", groups=6, places=4), "kather": made.patches("kather", groups=6, places=4)}
    monkeypatch.setattr(module, "gather", lambda task, data, **how: given[task.name])
    stopped = conduct(asked(), out=tmp_path, data=tmp_path, stop=lambda: True)
    assert stopped is None and not (tmp_path / "table.md").exists()
    told: list[Event] = []
    table = conduct(asked(), out=tmp_path, data=tmp_path, tell=told.append)
    assert table and table == tmp_path / "table.md"
    text = table.read_text()
    for part in ("| glas | taught |", "| kather | vae |", "| kather | colour |", "ahead on", "of 2 |"):
        assert part in text, part
    assert (tmp_path / "plot.svg").read_text().count("<circle") >= 12
    trained = sorted(p.name.rpartition("-")[0] for p in (tmp_path / "trained").iterdir())
    assert trained == ["tiny", "tiny", "vae"], "what learns without labels is trained once"
    assert not list(tmp_path.rglob("state.safetensors"))
    assert sum(isinstance(e, Advanced) and "training" in e.note for e in told) == 3

    def twice(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished training or probe is done again")

    monkeypatch.setattr(module, "fit_encoder", twice)
    monkeypatch.setattr(module, "probe", twice)
    again = conduct(asked(), out=tmp_path, data=tmp_path)
    assert again and again.read_text() == text


def test_the_slope_over_the_number_of_tasks() -> None:
    from geryon.train.encoders.comparison import _slopes
    from geryon.train.encoders.experiment import Try
    from geryon.train.encoders.figures import Figure
    from geryon.train.encoders.probing import Probed

    rng = np.random.default_rng(0)
    done = []
    for seed in (0, 1):
        for count in (1, 2, 3):
            value = 0.5 + 0.1 * count + 0.01 * seed
            figure = Figure(value=value, seeds=(value,), drawn=value + rng.normal(0, 0.001, 1000))
            probed = Probed(encoder="e", sha256="", task="glas", figures={"auc": figure}, patches=9, groups=3)
            done.append((Try(task="glas", label="tasks", seed=seed, count=count), probed))
    found = _slopes(done, "glas", "auc")
    assert found and np.isclose(found[0], 0.1) and abs(found[1].mean() - 0.1) < 0.001
    assert _slopes(done[:1], "glas", "auc") is None
