"""Pictures of each kind of question for a run's report: the functions behind Target.charts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geryon.cohort import survival
from geryon.cohort.plots import Axes, Course, chart
from geryon.cohort.target import Scored
from geryon.tasks.probability_metrics import bin_of

UNIT = (0.0, 1.0)
UNIT_START, UNIT_END = (0.0, 0.0), (1.0, 1.0)


def roc(is_so: np.ndarray, p: np.ndarray) -> list[tuple[float, float]]:
    """The points (false, true positive rate) of the ROC curve from (0, 0) to (1, 1); ties are one step."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    true, false = (np.cumsum(flag[order])[ends] / max(flag.sum(), 1) for flag in (is_so, ~is_so))
    return [(0.0, 0.0), *((float(x), float(y)) for x, y in zip(false, true, strict=True))]


def reliability(is_so: np.ndarray, p: np.ndarray) -> list[tuple[float, float]]:
    """(mean probability, share that was so) of each of the bins of the calibration error that holds something."""
    bins = bin_of(p)
    return [(float(p[bins == k].mean()), float(is_so[bins == k].mean())) for k in np.unique(bins)]


def _ranked(named: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """ROC and calibration charts of yes-or-no questions, {name: (is_so, p)}."""
    rocs = [Course(name=name, points=roc(so, p)) for name, (so, p) in named.items()]
    means = [Course(name=name, points=reliability(so, p), kind="dots") for name, (so, p) in named.items()]
    guide = Course(name="", points=[UNIT_START, UNIT_END], kind="guide")
    return [
        chart(Axes(title="ROC", x="false positive rate", y="true positive rate", x_limits=UNIT, y_limits=UNIT),
              [guide, *rocs]),
        chart(Axes(title="Calibration", x="said", y="was so", x_limits=UNIT, y_limits=UNIT), [guide, *means]),
    ]  # fmt: skip


def of_yes_or_no(of: Scored) -> list[str]:
    """ROC and calibration of one probability."""
    return _ranked({of.target.classes[1]: (of.truth[:, 0] > 0, of.answers[:, 0])})


def of_classes(of: Scored) -> list[str]:
    """ROC and calibration of each class."""
    names = enumerate(of.target.classes)
    return _ranked({name: (of.truth[:, 0] == k, of.answers[:, k]) for k, name in names})


def of_labels(of: Scored) -> list[str]:
    """ROC and calibration of each label."""
    names = enumerate(of.target.columns)
    return _ranked({name: (of.truth[:, k] > 0, of.answers[:, k]) for k, name in names})


def of_grades(of: Scored) -> list[str]:
    """The expected grade against the true one, then as of classes."""
    expected = of.answers @ np.arange(len(of.target.classes))
    return [_scatter(of, expected, "expected grade"), *of_classes(of)]


def of_values(of: Scored) -> list[str]:
    """Predicted against true."""
    return [_scatter(of, of.answers[:, 0], "predicted")]


def _scatter(of: Scored, said: np.ndarray, name: str) -> str:
    points = [(float(t), float(a)) for t, a in zip(of.truth[:, 0], said, strict=True)]
    every = [v for point in points for v in point]
    guide = Course(name="", points=[(min(every),) * 2, (max(every),) * 2], kind="guide")
    return chart(Axes(title="Truth and answer", x=of.target.columns[0], y=name),
                 [guide, Course(name=name, points=points, kind="dots")])  # fmt: skip


def of_risks(of: Scored) -> list[str]:
    """Kaplan-Meier curves of the halves by risk."""
    time, event, is_high = of.truth[:, 0], of.truth[:, 1] > 0, survival.is_higher_half(of.answers[:, 0], of.folds)
    courses = []
    for name, which in (("lower risk", ~is_high), ("higher risk", is_high)):
        if which.any():
            curve = survival.kaplan_meier(time[which], event[which])
            points = [(float(x), float(y)) for x, y in zip(curve.time, curve.alive, strict=True)]
            band = [(float(a), float(b)) for a, b in zip(curve.low, curve.high, strict=True)]
            label = f"{name} (n = {curve.n}, {curve.deaths} events)"
            courses.append(Course(name=label, points=points, kind="steps", band=band))
    axes = Axes(
        title="Kaplan-Meier by predicted risk",
        x=of.target.columns[0],
        y="without event",
        x_limits=(0.0, float(time.max())),
        y_limits=UNIT,
    )
    return [chart(axes, courses)]
