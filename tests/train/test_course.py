"""What goes on beside learning: epochs, the best of them, curves, and wishes that can't be met."""

import csv
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from geryon.errors import InputError, MissingPartError, UsageError
from geryon.events import Advanced
from geryon.train import checkpoints, course, curves, feeding, loop, step
from geryon.train.validate import Validation, figure_names
from tests.train.squares import LOSSES, SETTINGS, square, tiny

EPOCHS = replace(SETTINGS, epoch_steps=5, best="squares dice", ema=0.5)


@pytest.fixture
def samples():
    return [square(seed) for seed in range(8)]


def says(figures, name="squares dice"):
    """A validation that gives these figures one after another, and what it saw."""
    seen, left = [], iter(figures)

    def validate(network):
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return {name: next(left), "other": 1.0}

    return validate, seen


def same(network, state):
    return all(torch.equal(network.state_dict()[k], v) for k, v in state.items())


def test_the_weights_of_the_best_epoch_are_the_result(samples, tmp_path):
    validate, seen = says([0.2, 0.7, 0.5, 0.7, 0.6, 0.1])
    done = loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path, validate=validate)
    assert done.step == 30 and same(done.network, seen[1]) and not same(done.network, seen[5])
    assert done.chosen == {"figure": "squares dice", "value": 0.7, "step": 10}
    assert done.figures == {"squares dice": 0.7, "other": 1.0}, "of these weights, not of the last"
    again, _ = says([0.1])
    taken = loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path, validate=again)
    assert same(taken.network, seen[1]) and taken.chosen == done.chosen
    assert [r["step"] for r in csv.DictReader((tmp_path / "validation.csv").open())] == [
        str(5 * n) for n in range(1, 7) for _ in range(2)
    ]


def test_a_loss_is_better_where_it_is_lower(samples, tmp_path):
    validate, seen = says([0.9, 0.3, 0.4], "squares loss")
    settings = replace(EPOCHS, steps=15, best="squares loss")
    assert same(loop.train(tiny(), samples, LOSSES, settings, out=tmp_path, validate=validate).network, seen[1])


def test_a_run_without_progress_ends_early_and_stays_ended(samples, tmp_path):
    settings = replace(EPOCHS, patience=2)
    validate, seen = says([0.2, 0.7, 0.5, 0.6])
    done = loop.train(tiny(), samples, LOSSES, settings, out=tmp_path, validate=validate)
    assert done.step == 20 and done.whole and same(done.network, seen[1])
    again, _ = says([0.6])
    taken = loop.train(tiny(), samples, LOSSES, settings, out=tmp_path, validate=again)
    assert taken.step == 20 and taken.whole and same(taken.network, seen[1])


def test_a_stopped_run_knows_its_best_epoch_when_it_goes_on(samples, tmp_path):
    validate, seen = says([0.8, 0.4])
    asked = iter([False] * 12 + [True] * 9)
    loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path, validate=validate, stop=lambda: next(asked))
    more, _ = says([0.5, 0.6, 0.3, 0.2])
    done = loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path, validate=more)
    assert done.chosen["step"] == 5 and same(done.network, seen[0])


def test_a_best_figure_that_can_not_be_had_is_refused(samples, tmp_path):
    with pytest.raises(UsageError, match=r"split\.validation"):
        loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path)
    with pytest.raises(InputError, match="no figure 'squares dice'"):
        loop.train(tiny(), samples, LOSSES, EPOCHS, out=tmp_path, validate=lambda network: {"pq": 1.0})


def test_the_rate_of_the_published_schedule_drops_by_ten(samples):
    published = replace(SETTINGS, schedule="drops", drop_steps=10, warmup=0.0, lr=1e-3)
    rates = [step.rate(n, n / 30, published) for n in range(30)]
    assert rates == pytest.approx([1e-3] * 10 + [1e-4] * 10 + [1e-5] * 10)


def test_other_losses_can_stand_for_the_tasks_own(samples, tmp_path):
    chosen = replace(SETTINGS, steps=5, map_losses={"squares/inside": "mse"})
    loop.train(tiny(), samples, LOSSES, chosen, out=tmp_path)
    [row] = csv.DictReader((tmp_path / "log.csv").open())
    assert float(row["squares/inside"]) < 1.0 < float(row["squares/class"]) + 1.0
    assert loop.chosen_losses(LOSSES, chosen) == {**LOSSES, "squares/inside": "mse"}
    with pytest.raises(UsageError, match="map_losses name unknown maps: x/y"):
        loop.train(tiny(), samples, LOSSES, replace(SETTINGS, map_losses={"x/y": "mse"}), out=tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"apart": ("a",)}, "apart needs apart_every or apart_chance"),
        ({"apart": ("a",), "apart_every": 3, "apart_chance": 0.3}, "give one"),
        ({"apart_chance": 0.3}, "need apart"),
        ({"apart": ("a",), "apart_every": 1}, "leaves no batch"),
        ({"batches": "whole"}, "mixed, fixed"),
        ({"schedule": "linear"}, "cosine, drops"),
        ({"balance": "gradnorm"}, "fixed, uncertainty"),
        ({"patience": 3}, "patience needs best"),
        ({"accumulate": 0}, "accumulate is 0"),
    ],
)
def test_settings_that_can_not_be_are_refused(change, says):
    with pytest.raises(UsageError, match=says):
        replace(SETTINGS, **change)


def test_sources_apart_must_be_there_and_not_be_all(samples):
    some = replace(SETTINGS, apart=("b",), apart_every=3)
    feed = feeding.make_feed(samples, LOSSES, some)
    assert list(feed.pool.members[0]) == [0, 2, 4, 6] and list(feed.apart.members[0]) == [1, 3, 5, 7]
    with pytest.raises(UsageError, match="no samples are of c"):
        feeding.make_feed(samples, LOSSES, replace(some, apart=("c",)))
    with pytest.raises(UsageError, match="every source is kept apart"):
        feeding.make_feed(samples, LOSSES, replace(some, apart=("a", "b")))


def test_progress_says_the_loss_and_the_time_that_a_limit_leaves(samples, tmp_path):
    told = []
    loop.train(tiny(), samples, LOSSES, replace(SETTINGS, minutes=60), out=tmp_path, tell=told.append)
    notes = [event for event in told if isinstance(event, Advanced)]
    assert sum(event.n for event in notes) == 30
    assert all(event.note.startswith("loss 0.") or event.note.startswith("loss 1.") for event in notes[1:])
    assert all(event.note.endswith("min left") for event in notes)


def test_validation_tells_each_source_apart_and_all_together(samples):
    network = tiny().eval()
    figures = Validation(samples=samples, losses=LOSSES)(network)
    alone = {
        source: Validation(samples=[s for s in samples if s.source == source], losses=LOSSES)(network)
        for source in "ab"
    }
    assert "squares/class loss, b" not in figures and set(figure_names(LOSSES)) <= set(figures)
    for source, own in alone.items():
        assert {f"{name}, {source}": value for name, value in own.items()}.items() <= figures.items()
    low, high = sorted(own["squares/inside dice"] for own in alone.values())
    assert low <= figures["squares/inside dice"] <= high and figures["squares/class accuracy"] == pytest.approx(
        alone["a"]["squares/class accuracy"]
    )


def test_a_class_that_the_source_does_not_know_is_not_counted_as_wrong():
    sample = square(0)
    half = sample.targets["squares/class"].copy()
    half[half == 0] = 128
    unsure = replace(sample, targets={**sample.targets, "squares/class": half})
    network = tiny().eval()
    with torch.no_grad():
        network.kind.weight.zero_()
        network.kind.bias.copy_(torch.tensor([-9.0, 9.0]))
    assert Validation(samples=[sample], losses=LOSSES)(network)["squares/class accuracy"] == 0.0
    told = Validation(samples=[unsure], losses=LOSSES)(network)
    assert told["squares/class accuracy"] == 1.0 and told["squares/class loss"] == pytest.approx(0.0, abs=1e-6)
    assert np.array_equal(np.unique(half), [128, 255])


def test_tensorboard_that_is_not_installed_is_asked_for_by_name(samples, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    asked = replace(SETTINGS, tensorboard=True)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[tensorboard\]"') as caught:
        loop.train(tiny(), samples, LOSSES, asked, out=tmp_path / "run")
    assert caught.value.exit_code == 4 and not (tmp_path / "run").exists()


def test_tensorboard_gets_what_the_tables_get(samples, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    asked = replace(EPOCHS, tensorboard=True)
    validate, _ = says([0.2, 0.7, 0.5, 0.7, 0.6, 0.1])
    loop.train(tiny(), samples, LOSSES, asked, out=tmp_path, validate=validate)
    events = EventAccumulator(str(tmp_path / curves.BOARD)).Reload()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    seen = events.Scalars("squares/inside/b")
    assert [e.step for e in seen] == [5, 10, 15, 20, 25, 30]
    assert [e.value for e in seen] == pytest.approx([float(r["squares/inside, b"]) for r in rows], rel=1e-4)
    assert [e.value for e in events.Scalars("validation/squares dice")] == pytest.approx([0.2, 0.7, 0.5, 0.7, 0.6, 0.1])


def test_the_card_says_which_epoch_was_chosen():
    from geryon.nets.weights import ModelDocument, card

    chosen = {"figure": "squares dice", "value": 0.7, "step": 10}
    text = card(
        ModelDocument(name="a", version="1", topology="geryon-s", settings={}, tasks=(), training={"chosen": chosen})
    )
    assert "squares dice" in text and "0.7" in text


def test_progress_of_older_states_is_read(samples, tmp_path):
    assert checkpoints.Progress(step=3, seconds=1.0, settings="x").best is None
    assert not course.is_stale(checkpoints.Progress(step=99), replace(EPOCHS, patience=1))
