"""The loop: it learns, stops and goes on as if it had not, and says what goes wrong."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geryon.errors import InputError, UsageError
from geryon.events import Warned
from geryon.train import batches, checkpoints, feeding, learner, loop, step
from geryon.train.augment_settings import AugmentSettings
from tests.train.squares import LOSSES, SETTINGS, square, tiny


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def samples():
    return [square(seed) for seed in range(8)]


def stop_after(steps):
    asked = iter(range(10**6))
    return lambda: next(asked) >= steps


def weights(trained):
    return {k: v.clone() for k, v in trained.network.state_dict().items()}


def test_thirty_steps_lower_every_loss(samples, tmp_path):
    done = loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert done.step == 30 and done.whole and [int(r["step"]) for r in rows] == [5, 10, 15, 20, 25, 30]
    assert float(rows[-1]["squares/inside"]) < 0.7 * float(rows[0]["squares/inside"])
    assert float(rows[-1]["squares/class"]) < 0.7 * float(rows[0]["squares/class"])
    assert not done.network.training


def test_stopped_and_resumed_is_bit_for_bit_the_uninterrupted_run(samples, tmp_path):
    whole = loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path / "whole")
    first = loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path / "cut", stop=stop_after(13))
    assert not first.whole and first.step == 13
    second = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, threads=0), out=tmp_path / "cut")
    assert second.whole and second.step == 30
    expected, got = weights(whole), weights(second)
    assert expected.keys() == got.keys() and all(torch.equal(expected[k], got[k]) for k in expected)
    state = [(tmp_path / name / checkpoints.STATE).read_bytes()[-4000:] for name in ("whole", "cut")]
    assert state[0] == state[1]


def test_a_run_killed_after_a_checkpoint_goes_on_from_it(samples, tmp_path):
    class Killed(BaseException):
        pass

    def tell(event):
        if (
            getattr(event, "n", 0)
            and "loss" in event.note
            and len(list(csv.reader((tmp_path / "log.csv").open()))) == 5
        ):
            raise Killed

    keeping = replace(SETTINGS, epoch_steps=12)
    with pytest.raises(Killed):
        loop.train(tiny(), samples, LOSSES, keeping, out=tmp_path, tell=tell)
    again = loop.train(tiny(), samples, LOSSES, keeping, out=tmp_path)
    whole = loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path / "whole")
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(whole).items())
    assert [int(r["step"]) for r in csv.DictReader((tmp_path / "log.csv").open())] == [5, 10, 15, 20, 25, 30]


def test_a_finished_run_is_taken_over_unchanged(samples, tmp_path):
    once = weights(loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path))
    log = (tmp_path / "log.csv").read_bytes()
    again = loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path)
    assert again.step == 30 and all(torch.equal(v, weights(again)[k]) for k, v in once.items())
    assert (tmp_path / "log.csv").read_bytes() == log


def test_the_clock_ends_the_schedule(samples, tmp_path):
    timed = replace(SETTINGS, steps=10**6, minutes=0.5 / 60)
    done = loop.train(tiny(), samples, LOSSES, timed, out=tmp_path)
    assert done.whole and 0 < done.step < 10**6 and done.seconds < 3


def test_the_rate_rises_then_falls_with_steps_or_the_clock():
    s = replace(SETTINGS, steps=100, minutes=1.0)
    rates = [step.rate(n, loop.fraction(n, 0.0, s), s) for n in range(100)]
    peak = rates.index(max(rates))
    assert rates[0] > 0 and peak == 10 and rates[peak] == pytest.approx(s.lr)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert loop.fraction(10, 30.0, s) == 0.5 and loop.fraction(10, 90.0, s) == 1.0
    assert step.rate(100, 1.0, s) == pytest.approx(s.lr * s.lr_floor)


def test_validation_sees_the_average_and_is_written_down(samples, tmp_path):
    seen = []

    def validate(network):
        seen.append((network.training, next(network.parameters()).requires_grad))
        return {"pq": 0.25}

    done = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, epoch_steps=15), out=tmp_path, validate=validate)
    assert seen == [(False, False)] * 2 and done.figures == {"pq": 0.25}
    assert (tmp_path / "validation.csv").read_text().split() == ["step,figure,value", "15,pq,0.25", "30,pq,0.25"]


def test_the_average_follows_weights_and_statistics(samples, tmp_path):
    place = learner.choose_place(SETTINGS)
    pupil = learner.set_up(tiny(), SETTINGS, place)
    with torch.no_grad():
        for tensor in pupil.network.state_dict().values():
            tensor.copy_(torch.ones_like(tensor) * 3)
    before = {k: v.clone().float() for k, v in pupil.average.state_dict().items()}
    learner.update_average(pupil, 0.75)
    for name, tensor in pupil.average.state_dict().items():
        wanted = torch.full_like(before[name], 3.0) if "tracked" in name else 0.75 * before[name] + 0.25 * 3
        assert torch.allclose(tensor.float(), wanted)


def test_norms_can_be_frozen_for_the_last_part(samples, tmp_path):
    frozen = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, freeze_norms_after=0.0), out=tmp_path)
    assert torch.equal(frozen.network.stem[1].running_mean, torch.zeros(8))


def test_norms_and_biases_do_not_decay():
    pupil = learner.set_up(tiny(), replace(SETTINGS, lr_factors={"stem": 0.1}), learner.choose_place(SETTINGS))
    groups = {
        (g["factor"], g["weight_decay"]): {tuple(p.shape) for p in g["params"]} for g in pupil.optimizer.param_groups
    }
    assert groups[(0.1, 0.0)] == {(8,)} and (8, 3, 3, 3) in groups[(0.1, SETTINGS.weight_decay)]
    assert groups[(1.0, 0.0)] == {(1,), (2,)}


def test_crops_turn_images_and_labels_alike(samples):
    shapes = batches.map_shapes(samples, tuple(LOSSES))
    still = replace(SETTINGS, augment=AugmentSettings(strength=0), crop_px=96)
    feed = feeding.make_feed(samples, LOSSES, still)
    for number in range(6):
        batch = feeding.make_batch(number, samples=samples, shapes=shapes, feed=feed, settings=still)
        dark = batch.images.min(axis=3) < 100
        assert np.array_equal(dark, batch.targets["squares/inside"][..., 0] == 255)
        outside = batch.weights["squares/inside"] == 0
        assert outside.sum() == 4 * (96 * 96 - 64 * 64) and (batch.images[outside] == 255).all()
        known = batch.weights["squares/class"] > 0
        assert (batch.targets["squares/class"][known].max(axis=1) == 255).all()


def test_what_a_run_can_not_use_is_refused(samples, tmp_path):
    loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path, stop=stop_after(1))
    with pytest.raises(InputError, match="another network"):
        loop.train(nn.Sequential(nn.Conv2d(3, 1, 1)), samples, LOSSES, SETTINGS, out=tmp_path)
    (tmp_path / checkpoints.STATE).write_bytes(b"not a state")
    with pytest.raises(InputError, match="training state"):
        loop.train(tiny(), samples, LOSSES, SETTINGS, out=tmp_path)
    with pytest.raises(UsageError, match="map_weights"):
        loop.train(tiny(), samples, LOSSES, replace(SETTINGS, map_weights={"x/y": 1.0}), out=tmp_path / "b")
    with pytest.raises(UsageError, match=r"steps is 0.*crop_px is 40"):
        replace(SETTINGS, steps=0, crop_px=40)


def test_a_gradient_that_is_not_finite_stops_the_run(samples, tmp_path):
    network = tiny()
    with torch.no_grad():
        network.inside.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="squares/inside"):
        loop.train(network, samples, LOSSES, SETTINGS, out=tmp_path)


def test_changed_settings_and_missing_labels_are_told(samples, tmp_path):
    told = []
    only_b = [s for s in samples if s.source == "b"]
    loop.train(tiny(), only_b, LOSSES, SETTINGS, out=tmp_path, tell=told.append, stop=stop_after(2))
    loop.train(tiny(), only_b, LOSSES, replace(SETTINGS, lr=0.01, steps=4), out=tmp_path, tell=told.append)
    texts = [event.text for event in told if isinstance(event, Warned)]
    assert any("squares/class" in t for t in texts) and any("settings changed at step 2" in t for t in texts)
