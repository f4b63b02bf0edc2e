"""The loop: it learns, stops and goes on as if it had not, and says what goes wrong."""

import csv
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import nn

from geryon.errors import InputError, UsageError
from geryon.events import Warned
from geryon.train import batches, checkpoints, loop
from geryon.train.augment import AugmentSettings
from geryon.train.settings import LoopSettings

LOSSES = {"squares/inside": "bce_dice", "squares/class": "class_cross_entropy"}
SETTINGS = LoopSettings(
    steps=30,
    batch=4,
    crop_px=32,
    lr=0.02,
    warmup=0.1,
    ema=0.9,
    threads=1,
    log_steps=5,
    keep_minutes=60,
    device="cpu",
    precision="float32",
    augment=AugmentSettings(strength=0.3),
)


@dataclass(frozen=True)
class Square:
    source: str
    image: np.ndarray
    targets: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def square(seed: int) -> Square:
    """A dark square on light glass; source "b" knows no classes."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((64, 64), np.uint8)
    y, x = rng.integers(4, 36, 2)
    inside[y : y + 24, x : x + 24] = 255
    red = seed % 4 < 2
    image = np.full((64, 64, 3), 225, np.uint8)
    image[inside > 0] = (180, 60, 60) if red else (60, 60, 180)
    coarse = inside[::2, ::2]
    classes = np.stack([coarse * red, coarse * (not red)], axis=2)
    full = np.full((64, 64), 32, np.uint8)
    if seed % 2:
        return Square("b", image, {"squares/inside": inside[..., None]}, {"squares/inside": full})
    return Square(
        "a",
        image,
        {"squares/inside": inside[..., None], "squares/class": classes},
        {"squares/inside": full, "squares/class": (coarse > 0).astype(np.uint8) * 32},
    )


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
        )
        self.inside, self.kind = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 2, 2, stride=2)

    def forward(self, x):
        x = self.stem(x.float() / 128 - 1)
        return {"squares/inside": self.inside(x), "squares/class": self.kind(x)}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def samples():
    return [square(seed) for seed in range(8)]


def tiny():
    torch.manual_seed(7)
    return Tiny()


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

    keeping = replace(SETTINGS, keep_steps=12)
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
    rates = [loop.rate(loop.fraction(step, 0.0, s), s) for step in range(100)]
    peak = rates.index(max(rates))
    assert rates[0] > 0 and peak == 10 and rates[peak] == pytest.approx(s.lr)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert loop.fraction(10, 30.0, s) == 0.5 and loop.fraction(10, 90.0, s) == 1.0
    assert loop.rate(1.0, s) == pytest.approx(s.lr * s.lr_floor)


def test_validation_sees_the_average_and_is_written_down(samples, tmp_path):
    seen = []

    def validate(network):
        seen.append((network.training, next(network.parameters()).requires_grad))
        return {"pq": 0.25}

    done = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, validate_steps=15), out=tmp_path, validate=validate)
    assert seen == [(False, False)] * 2 and done.figures == {"pq": 0.25}
    assert (tmp_path / "validation.csv").read_text().split() == ["step,figure,value", "15,pq,0.25", "30,pq,0.25"]


def test_the_average_follows_weights_and_statistics(samples, tmp_path):
    place = loop.choose_place(SETTINGS)
    learner = loop.set_up(tiny(), SETTINGS, place)
    with torch.no_grad():
        for tensor in learner.network.state_dict().values():
            tensor.copy_(torch.ones_like(tensor) * 3)
    before = {k: v.clone().float() for k, v in learner.average.state_dict().items()}
    loop.update_average(learner, 0.75)
    for name, tensor in learner.average.state_dict().items():
        wanted = torch.full_like(before[name], 3.0) if "tracked" in name else 0.75 * before[name] + 0.25 * 3
        assert torch.allclose(tensor.float(), wanted)


def test_a_map_that_a_batch_does_not_know_is_left_alone(samples):
    only_b = [s for s in samples if s.source == "b"]
    place = loop.choose_place(SETTINGS)
    learner = loop.set_up(tiny(), SETTINGS, place)
    shapes = batches.map_shapes(samples, tuple(LOSSES))
    pool = loop.make_pool(only_b, LOSSES, SETTINGS)
    batch = loop.make_batch(0, samples=only_b, shapes=shapes, pool=pool, settings=SETTINGS)
    before = learner.network.kind.weight.clone()
    losses = {name: (loop.get_loss(loss), 1.0) for name, loss in LOSSES.items()}
    parts = loop.step_once(learner, batch, losses, SETTINGS, 0.5)
    assert "squares/class" not in parts and parts["squares/inside"] > 0
    assert torch.equal(learner.network.kind.weight, before)


def test_norms_can_be_frozen_for_the_last_part(samples, tmp_path):
    frozen = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, freeze_norms_after=0.0), out=tmp_path)
    assert torch.equal(frozen.network.stem[1].running_mean, torch.zeros(8))


def test_norms_and_biases_do_not_decay():
    learner = loop.set_up(tiny(), replace(SETTINGS, lr_factors={"stem": 0.1}), loop.choose_place(SETTINGS))
    groups = {
        (g["factor"], g["weight_decay"]): {tuple(p.shape) for p in g["params"]} for g in learner.optimizer.param_groups
    }
    assert groups[(0.1, 0.0)] == {(8,)} and (8, 3, 3, 3) in groups[(0.1, SETTINGS.weight_decay)]
    assert groups[(1.0, 0.0)] == {(1,), (2,)}


def test_crops_turn_images_and_labels_alike(samples):
    shapes = batches.map_shapes(samples, tuple(LOSSES))
    still = replace(SETTINGS, augment=AugmentSettings(strength=0), crop_px=96)
    pool = loop.make_pool(samples, LOSSES, still)
    for step in range(6):
        batch = loop.make_batch(step, samples=samples, shapes=shapes, pool=pool, settings=still)
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


def test_tasks_are_asked_only_of_crops_that_know_them_and_the_losses_stay_the_same() -> None:
    """With norms that keep their statistics, leaving out what has weight 0 changes no loss and no gradient."""
    from geryon.nets.model import heads_of
    from geryon.nets.topologies.geryon_s import build
    from geryon.tasks.task import get_task

    tasks = [get_task(name) for name in ("nuclei", "glands", "tissue")]
    torch.manual_seed(0)
    network = build({"fine": [16, 16], "decoder": [16, 16, 16, 16, 16]}, heads_of(tasks, 0.5)).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    targets, weights = {}, {}
    for name, side, channels, knows in (
        ("nuclei/inside", 64, 1, (0, 2)),
        ("glands/inside", 16, 1, (1,)),
        ("tissue/class", 2, 9, (1,)),
    ):
        targets[name] = np.zeros((3, side, side, channels), np.uint8)
        targets[name][..., 0] = 255
        weights[name] = np.zeros((3, side, side), np.uint8)
        weights[name][list(knows)] = 32
    batch = batches.Batch(step=0, images=images, targets=targets, weights=weights)
    losses = {name: loop.get_loss("class_cross_entropy" if "class" in name else "bce_dice") for name in targets}
    place = loop.choose_place(LoopSettings(device="cpu", precision="float32"))

    def both(takes_rows: bool) -> tuple[dict[str, float], torch.Tensor]:
        network.takes_rows = takes_rows
        network.zero_grad()
        parts = loop.losses_of(network, batch, losses, place)
        torch.stack(list(parts.values())).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None and p.grad.any()])
        return {name: value.item() for name, value in parts.items()}, gradient

    (some, g_some), (every, g_every) = both(True), both(False)
    assert {k: round(v, 5) for k, v in some.items()} == {k: round(v, 5) for k, v in every.items()}
    torch.testing.assert_close(g_some, g_every, rtol=1e-4, atol=1e-6)
    assert {task: list(rows) for task, rows in loop.rows_of(batch).items()} == {
        "nuclei": [0, 2],
        "glands": [1],
        "tissue": [1],
    }
