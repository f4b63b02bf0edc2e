"""How one network of the ensemble learns: by steps with a plateau schedule, or solved to its one optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from geryon.cohort.document import SlideModelDocument
from geryon.cohort.losses import loss_of
from geryon.cohort.models import get_kind, network_of, tensors_of
from geryon.cohort.network import Last
from geryon.cohort.target import Target
from geryon.cohort.targets import get_target
from geryon.cohort.views import VIEWS, Slides, batch
from geryon.errors import UsageError
from geryon.events import Advanced, Tell

PENALTIES = tuple(10.0**k for k in (-4, -3, -2, -1, 0, 1))
"""Half the weight of the sum of squares beside the mean loss, of which validation chooses (convex models)."""
SOLVER_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What a network learns from."""

    slides: Slides
    truth: np.ndarray
    """float64 [slide, k]"""
    document: SlideModelDocument
    pooled: np.ndarray
    """float64 [slide, width]: what convex models see; empty for the others."""

    @property
    def kind(self) -> Target:
        """The kind of question."""
        return get_target(self.document.target.kind)

    def targets(self, which: Sequence[int], scale: Scale) -> Tensor:
        """float32 [n, k], standardised where the target is a value."""
        truth = (self.truth[list(which)] - scale.mean) / scale.sd
        return torch.from_numpy(truth.astype(np.float32)).to(self.slides.device)


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and spread of a value on the training part; 0 and 1 for other targets."""

    mean: float = 0.0
    sd: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Slides by their number: who is learnt from, and who says when to stop."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learnt:
    """A network that learnt."""

    tensors: dict[str, np.ndarray]
    course: np.ndarray
    """float64 [epoch, 3]: training loss, validation loss, rate (of a convex model [penalty, 3]: penalty for rate)."""


def learn(lesson: Lesson, part: Part, tell: Tell) -> Learnt:
    """Train one network; the same lesson, part and machine give the same numbers."""
    device = lesson.slides.device
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(part.seed)
        network = network_of(lesson.document).to(device)
        last: Last = network.last  # type: ignore[assignment]
        _standardise(last, lesson.slides.measures[list(part.train)])
        scale = _scale(lesson, part.train)
        solve = _solved if get_kind(lesson.document.model).is_convex else _stepped
        course, logits = solve(lesson, network, part, scale, tell)
    _settle(lesson, last, scale, logits)
    return Learnt(tensors=tensors_of(network), course=course)


def _standardise(last: Last, measures: np.ndarray) -> None:
    """Mean and spread of each measure on the training part; one that does not vary stays as it is."""
    known = np.isfinite(measures)
    n = known.sum(0).clip(min=1)
    mean = np.where(known, measures, 0.0).sum(0) / n
    sd = np.sqrt((np.where(known, measures - mean, 0.0) ** 2).sum(0) / n)
    last.measures_mean.copy_(torch.from_numpy(mean))
    last.measures_sd.copy_(torch.from_numpy(np.where(sd > 1e-9, sd, 1.0)))


def _scale(lesson: Lesson, train: Sequence[int]) -> Scale:
    if not lesson.kind.is_scaled:
        return Scale()
    values = lesson.truth[list(train), 0]
    return Scale(float(values.mean()), float(values.std()) or 1.0)


def _settle(lesson: Lesson, last: Last, scale: Scale, logits: Tensor) -> None:
    """Put the scale of a value into the output layer. Answers without a zero of their own (Cox's loss leaves it open)
    are counted from the mean of the slides that validated (of a convex model, and of those that it learnt from)."""
    with torch.no_grad():
        last.linear.weight *= scale.sd
        last.linear.bias.copy_(last.linear.bias * scale.sd + scale.mean)
        if lesson.kind.is_relative:
            last.linear.bias.sub_(logits.mean().to(last.linear.bias))


def _stepped(lesson: Lesson, network: nn.Module, part: Part, scale: Scale, tell: Tell) -> tuple[np.ndarray, Tensor]:
    """Adam, a tenth of the rate after each plateau of the validation loss (B4 of Tellez et al.: the metric; the loss
    moves less by chance where few slides validate). The network ends as it was at its lowest validation loss."""
    settings, slides = lesson.slides.settings, lesson.slides
    view, rng = VIEWS[get_kind(lesson.document.model).sees], np.random.default_rng([part.seed, len(part.train)])
    optimiser = torch.optim.Adam(_groups(network, settings.decay), lr=settings.rate)
    best, kept, best_logits = np.inf, None, torch.zeros(0)
    course: list[tuple[float, float, float]] = []
    since, rate = 0, settings.rate
    for _ in range(settings.epochs):
        network.train()
        losses = []
        for some in _batches(part.train, settings.batch, rng):
            x, mask = batch([view.drawn(slides, i, rng) for i in some], slides.device)
            loss = loss_of(lesson.kind.loss, network(x, mask, slides.objects(some)), lesson.targets(some, scale))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        value, logits = _validated(lesson, network, part, scale)
        course.append((float(np.mean(losses)), value, rate))
        tell(Advanced(stage="epochs", note=f"validation loss {value:.4f}"))
        since += 1
        if value < best:
            best, since, best_logits = value, 0, logits
            kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        if since >= settings.patience:
            rate, since = rate / 10, 0
            if rate < settings.least_rate * 0.999:
                break
            for group in optimiser.param_groups:
                group["lr"] = rate
    if kept is None:
        raise UsageError(what="the validation loss was never finite", mend="give a lower rate: --rate 0.001")
    network.load_state_dict(kept)
    return np.array(course), best_logits


def _groups(network: nn.Module, decay: float) -> list[dict[str, object]]:
    """Kernels decay, biases and norms do not. Adam adds `weight_decay` times the weight to the gradient, which is that
    of half as much times its square."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": 2 * decay}, {"params": others}]


def _batches(train: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """All slides once in random order; a last batch of one joins the one before: batch norm needs two."""
    order = [int(i) for i in rng.permutation(train)]
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2] += parts.pop()
    return parts


def _validated(lesson: Lesson, network: nn.Module, part: Part, scale: Scale) -> tuple[float, Tensor]:
    """The loss of the validation slides, all together, and their logits [slide, outputs]."""
    slides, view = lesson.slides, VIEWS[get_kind(lesson.document.model).sees]
    network.eval()
    found = []
    with torch.no_grad():
        for i in part.validation:
            looks = [batch([seen], slides.device) for seen in view.fixed(slides, i)]
            found.append(torch.stack([network(x, mask, slides.objects([i]))[0] for x, mask in looks]).mean(0))
    logits = torch.stack(found)
    return float(loss_of(lesson.kind.loss, logits, lesson.targets(part.validation, scale))), logits


def _solved(lesson: Lesson, network: nn.Module, part: Part, scale: Scale, tell: Tell) -> tuple[np.ndarray, Tensor]:
    """The optimum for each penalty; the one of the lowest validation loss is solved again with all slides."""
    course = []
    for penalty in PENALTIES:
        train = _optimum(lesson, network, part.train, scale, penalty)
        logits = _linear(lesson, network, part.validation).detach()
        value = float(loss_of(lesson.kind.loss, logits, lesson.targets(part.validation, scale)))
        course.append((train, value, penalty))
        tell(Advanced(stage="epochs"))
    table = np.array(course)
    penalty = float(table[np.argmin(np.where(np.isfinite(table[:, 1]), table[:, 1], np.inf)), 2])
    everyone = (*part.train, *part.validation)
    _optimum(lesson, network, everyone, scale, penalty)
    with torch.no_grad():
        return table, _linear(lesson, network, everyone)


def _linear(lesson: Lesson, network: nn.Module, which: Sequence[int]) -> Tensor:
    x = torch.from_numpy(lesson.pooled[list(which)]).float().to(lesson.slides.device)[:, :, None, None]
    mask = x.new_ones(len(x), 1, 1, dtype=torch.bool)
    logits: Tensor = network(x, mask, lesson.slides.objects(which))
    return logits


def _optimum(lesson: Lesson, network: nn.Module, which: Sequence[int], scale: Scale, penalty: float) -> float:
    """Solve for these slides from zero, by L-BFGS on the whole of them; the loss without its penalty."""
    seen = lesson.pooled[list(which)]
    if seen.shape[1]:
        network.mean.copy_(torch.from_numpy(seen.mean(0)))  # type: ignore[operator, union-attr]
        network.sd.copy_(torch.from_numpy(np.where(seen.std(0) > 1e-9, seen.std(0), 1.0)))  # type: ignore[operator, union-attr]
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    truth = lesson.targets(which, scale)
    kernels = [p for p in network.parameters() if p.ndim > 1]
    solver = torch.optim.LBFGS(network.parameters(), max_iter=SOLVER_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = loss_of(lesson.kind.loss, _linear(lesson, network, which), truth)
        whole = loss + penalty / 2 * sum((kernel**2).sum() for kernel in kernels)
        whole.backward()
        return whole

    solver.step(closure)  # type: ignore[arg-type]
    with torch.no_grad():
        return float(loss_of(lesson.kind.loss, _linear(lesson, network, which), truth))
