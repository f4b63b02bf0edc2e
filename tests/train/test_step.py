"""One step: what it asks of whom, what it tells, how tasks are balanced, and what it refuses."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geryon.errors import InputError, MissingPartError
from geryon.train import batches, checkpoints, curves, feeding, learner, loop, step
from geryon.train.augment_settings import AugmentSettings
from geryon.train.batches import Batch, Crop
from geryon.train.losses import get_loss
from geryon.train.settings import LoopSettings
from geryon.train.step import Aim
from tests.train.squares import LOSSES, SETTINGS, square, tiny

CPU = learner.choose_place(SETTINGS)


@pytest.fixture
def samples():
    return [square(seed) for seed in range(8)]


def batch_of(samples, number=0, settings=SETTINGS):
    shapes = batches.map_shapes(samples, tuple(LOSSES))
    feed = feeding.make_feed(samples, LOSSES, settings)
    return feeding.make_batch(number, samples=samples, shapes=shapes, feed=feed, settings=settings)


def aims_of(samples, settings=SETTINGS):
    shapes = batches.map_shapes(samples, tuple(LOSSES))
    return loop.make_aims(samples, LOSSES, shapes, settings, lambda event: None)


def gradient(network):
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_a_map_that_a_batch_does_not_know_is_left_alone(samples):
    pupil = learner.set_up(tiny(), SETTINGS, CPU)
    before = pupil.network.kind.weight.clone()
    only_b = [s for s in samples if s.source == "b"]
    told = step.step_once(pupil, [batch_of(only_b)], aims_of(samples), SETTINGS, 0.5)
    assert "squares/class" not in told.figures and told.figures["squares/inside"] > 0
    assert torch.equal(pupil.network.kind.weight, before)


def test_the_log_says_what_each_source_cost(samples):
    """A source's loss is that of its crops alone, and that of all crops comes from the same sums."""
    batch, aims = batch_of(samples, settings=replace(SETTINGS, batch=6)), aims_of(samples)
    pupil = learner.set_up(tiny(), SETTINGS, CPU)
    pupil.network.eval()
    losses, parts = step.backward(pupil, batch, aims, 1.0)
    tally = curves.Tally(since=0, sources=curves.sources_of(samples, aims))
    tally.add([batch], step.Stepped(figures=losses, parts=[parts]), 0.0)
    figures = tally.figures(aims)
    assert set(figures) - {"gradient", "total"} == {
        *("squares/inside", "squares/inside, a", "squares/inside, b"),
        *("squares/class", "squares/class, a"),
    }
    for source in "ab":
        own = [i for i, crop in enumerate(batch.crops) if crop.source == source]
        alone = Batch(
            step=0,
            images=batch.images[own],
            targets={"squares/inside": batch.targets["squares/inside"][own]},
            weights={"squares/inside": batch.weights["squares/inside"][own]},
            crops=tuple(batch.crops[i] for i in own),
        )
        expected, _ = step.backward(pupil, alone, aims, 1.0)
        assert figures[f"squares/inside, {source}"] == pytest.approx(expected["total"].item(), rel=1e-5)


def test_gradients_of_a_steps_batches_are_averaged(samples):
    aims, two = aims_of(samples), [batch_of(samples, 0), batch_of(samples, 1)]
    settings = replace(SETTINGS, freeze_norms_after=0.0, clip=0.0)
    each = []
    for fed in ([two[0]], [two[1]], two):
        pupil = learner.set_up(tiny(), settings, CPU)
        pupil.network.stem[3].p = 0.0
        step.step_once(pupil, fed, aims, settings, 0.5)
        each.append(gradient(pupil.network))
    torch.testing.assert_close(each[2], (each[0] + each[1]) / 2, rtol=1e-5, atol=1e-7)


def test_a_run_of_twice_the_batches_a_step_takes_as_many_steps(samples, tmp_path):
    done = loop.train(tiny(), samples, LOSSES, replace(SETTINGS, steps=5, accumulate=2), out=tmp_path)
    assert done.step == 5


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
        weights[name][list(knows)] = 20
    crops = tuple(Crop("a", f"{i}", 0, 0) for i in range(3))
    batch = Batch(step=0, images=images, targets=targets, weights=weights, crops=crops)
    named = {name: "class_cross_entropy" if "class" in name else "bce_dice" for name in targets}
    aims = {name: Aim(loss=get_loss(loss), channels=targets[name].shape[3]) for name, loss in named.items()}
    place = learner.choose_place(LoopSettings(device="cpu", precision="float32"))

    def both(takes_rows: bool) -> tuple[dict[str, float], torch.Tensor]:
        network.takes_rows = takes_rows
        network.zero_grad()
        parts = step.sums_of(network, batch, aims, place)
        losses = step.losses_of(parts, aims, place)
        torch.stack(list(losses.values())).sum().backward()
        used = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None and p.grad.any()])
        return {name: value.item() for name, value in losses.items()}, used

    (some, g_some), (every, g_every) = both(True), both(False)
    assert {k: round(v, 5) for k, v in some.items()} == {k: round(v, 5) for k, v in every.items()}
    torch.testing.assert_close(g_some, g_every, rtol=1e-4, atol=1e-6)
    assert {task: list(rows) for task, rows in step.rows_of(batch).items()} == {
        "nuclei": [0, 2],
        "glands": [1],
        "tissue": [1],
    }


LEARNT = replace(SETTINGS, balance="uncertainty", map_weights={"squares/class": 3.0})


def test_learnt_balance_begins_as_the_fixed_one_and_weighs_losses_by_their_size(samples):
    pupil, aims, batch = learner.set_up(tiny(), LEARNT, CPU, tuple(LOSSES)), aims_of(samples, LEARNT), batch_of(samples)
    losses, _ = step.backward(pupil, batch, aims, 1.0)
    assert losses["total"].item() == pytest.approx(losses["squares/inside"].item() + 3 * losses["squares/class"].item())
    for name, s in pupil.balance.items():
        # d/ds of w (L exp(-s) + s / 2) at s = 0
        assert s.grad.item() == pytest.approx(aims[name].weight * (0.5 - losses[name].item()), rel=1e-5)


def test_learnt_balance_goes_where_its_losses_send_it_and_not_into_the_model(samples, tmp_path):
    """For losses that stay the same, exp(-s) ends at 1 / (2 L)."""
    pupil = learner.set_up(tiny(), replace(LEARNT, weight_decay=0.0), CPU, tuple(LOSSES))
    aims, held = aims_of(samples, LEARNT), torch.tensor([0.1, 2.0])
    optimizer = torch.optim.Adam(list(pupil.balance.values()), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        sum(step.weighted(loss, name, aims, pupil) for loss, name in zip(held, LOSSES, strict=True)).backward()
        optimizer.step()
    weights = [torch.exp(-s).item() for s in pupil.balance.values()]
    assert weights == pytest.approx([5.0, 0.25], rel=0.02)
    done = loop.train(tiny(), samples, LOSSES, replace(LEARNT, steps=5), out=tmp_path)
    assert done.network.state_dict().keys() == tiny().state_dict().keys()
    assert "squares/inside weight" in (tmp_path / curves.LOG).read_text().splitlines()[0]


def test_learnt_balance_is_resumed_bit_for_bit(samples, tmp_path):
    settings = replace(LEARNT, steps=12, epoch_steps=5)
    loop.train(tiny(), samples, LOSSES, settings, out=tmp_path / "whole")
    asked = iter([False] * 7 + [True] * 9)
    loop.train(tiny(), samples, LOSSES, settings, out=tmp_path / "cut", stop=lambda: next(asked))
    loop.train(tiny(), samples, LOSSES, settings, out=tmp_path / "cut")
    whole, cut = (checkpoints._read(tmp_path / name / checkpoints.STATE)[1] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and {"balance/squares/inside", "moment1/balance/squares/class"} <= whole.keys()
    assert all(torch.equal(whole[k], cut[k]) for k in whole) and whole["balance/squares/inside"] != 0


class Divides(nn.Module):
    """Not a number on crops that are black, as a norm over nothing gives."""

    def __init__(self):
        super().__init__()
        self.inside, self.kind = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 2, 2, stride=2)

    def forward(self, x):
        x = x.float() / 255
        x = x / x.mean(dim=(1, 2, 3), keepdim=True)
        return {"squares/inside": self.inside(x), "squares/class": self.kind(x)}


def test_a_loss_that_is_not_finite_names_map_crop_and_source_and_leaves_the_last_good_state(samples, tmp_path):
    settings = replace(SETTINGS, threads=0, epoch_steps=1, augment=replace(SETTINGS.augment, strength=0.0))
    loop.train(Divides(), samples, LOSSES, settings, out=tmp_path, stop=iter([False] * 3 + [True] * 9).__next__)
    good = (tmp_path / checkpoints.STATE).read_bytes()
    black = [replace(s, name="night", image=s.image * 0) if s.source == "b" else s for s in samples]
    with pytest.raises(InputError) as caught:
        loop.train(Divides(), black, LOSSES, settings, out=tmp_path)
    said = str(caught.value)
    assert "training step 3" in said and "squares/inside on night of b at x" in said and "last good checkpoint" in said
    assert "square of a" not in said, "a knows the map too, and its crops are well"
    assert (tmp_path / checkpoints.STATE).read_bytes() == good


def test_a_state_that_is_not_finite_is_never_kept(samples, tmp_path):
    pupil = learner.set_up(tiny(), SETTINGS, CPU)
    checkpoints.keep(pupil, checkpoints.Progress(step=1), tmp_path)
    good = (tmp_path / checkpoints.STATE).read_bytes()
    pupil.network.stem[1].running_var[2] = torch.inf
    with pytest.raises(InputError, match=r"training step 2: 1 tensors are not finite, such as network/stem\.1"):
        checkpoints.keep(pupil, checkpoints.Progress(step=2), tmp_path)
    assert (tmp_path / checkpoints.STATE).read_bytes() == good


def test_class_weights_come_from_counts_and_weigh_pixels(samples):
    mostly_red = [s for i, s in enumerate(samples) if i % 2 == 0 and (i % 4 == 0 or i < 3)]
    weights = feeding.class_weights(mostly_red, "squares/class", 1.0)
    counts = batches.class_counts(mostly_red, "squares/class").sum(axis=0)
    assert np.dot(counts, weights) / counts.sum() == pytest.approx(1.0), "the mean pixel weighs 1"
    assert weights[1] / weights[0] == pytest.approx(counts[0] / counts[1])
    assert feeding.class_weights(mostly_red, "squares/class", 0.0) == ()
    aims = aims_of(mostly_red, replace(SETTINGS, class_power=1.0))
    assert aims["squares/class"].class_weights == weights and aims["squares/inside"].class_weights == ()


BARE = """
import sys

allowed = {"torch", "numpy", "scipy", "safetensors", "geryon"}
allowed |= {"torchgen", "typing_extensions", "tqdm", "_distutils_hack"}  # of torch
import geryon.train.loop
import geryon.train.packed

places = {name.split(".")[0]: getattr(module, "__file__", "") or "" for name, module in sys.modules.items()}
found = {name for name, place in places.items() if "site-packages" in place} - allowed
assert not found, f"a machine without {sorted(found)} could not train"
"""


def test_training_needs_torch_numpy_scipy_and_safetensors_alone():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_opencv_crops_stay_as_they_are_or_the_run_says_what_is_missing(samples, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for module in ("warp", "augment"):
        monkeypatch.delitem(sys.modules, f"geryon.train.{module}", raising=False)
    plain = replace(SETTINGS, augment=AugmentSettings(strength=0.0))
    assert batch_of(samples, settings=plain).images.shape[0] == plain.batch
    with pytest.raises(MissingPartError, match="opencv-python-headless"):
        batch_of(samples, settings=replace(SETTINGS, augment=AugmentSettings()))
