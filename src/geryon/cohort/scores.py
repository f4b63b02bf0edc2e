"""What answers of each kind of question are worth: the functions behind Target.scores and Target.tests."""

from __future__ import annotations

import numpy as np

from geryon.cohort import survival
from geryon.cohort.target import Scored, Scores
from geryon.tasks.class_metrics import mean_of_known
from geryon.tasks.weighted_metrics import (
    auc,
    balanced_accuracy,
    c_index,
    calibration_error,
    mean,
    pearson,
    quadratic_kappa,
    spearman,
)


def of_yes_or_no(of: Scored, weights: np.ndarray) -> Scores:
    """Of one probability."""
    so, p = of.truth[:, 0] > 0, of.answers[:, 0]
    return {
        "auc": auc(so, p, weights),
        "balanced_accuracy": balanced_accuracy(so, p >= 0.5, weights),
        "brier": mean((p - so) ** 2, weights),
        "ece": calibration_error(so, p, weights),
    }


def of_classes(of: Scored, weights: np.ndarray) -> Scores:
    """Of a probability a class."""
    true, found, names = of.truth[:, 0].astype(int), of.answers.argmax(1), of.target.classes
    each = {name: auc(true == k, of.answers[:, k], weights) for k, name in enumerate(names)}
    return {
        "auc": mean_of_known(np.stack(list(each.values()), -1)),
        "balanced_accuracy": balanced_accuracy(true, found, weights),
        "brier": mean(((of.answers - np.eye(len(names))[true]) ** 2).sum(1), weights),
        "ece": calibration_error(true == found, of.answers.max(1), weights),
        **{f"auc/{name}": values for name, values in each.items()},
    }


def of_grades(of: Scored, weights: np.ndarray) -> Scores:
    """Of a probability a grade."""
    true, found = of.truth[:, 0], of.answers.argmax(1)
    expected = of.answers @ np.arange(len(of.target.classes))
    return {
        "kappa_quadratic": quadratic_kappa(true.astype(int), found, weights),
        "spearman": spearman(true, expected, weights),
        "balanced_accuracy": balanced_accuracy(true, found, weights),
        "mae_grades": mean(np.abs(true - expected), weights),
    }


def of_labels(of: Scored, weights: np.ndarray) -> Scores:
    """Of a probability a label."""
    so, names = of.truth > 0, list(enumerate(of.target.columns))
    each = {name: auc(so[:, k], of.answers[:, k], weights) for k, name in names}
    return {
        "auc": mean_of_known(np.stack(list(each.values()), -1)),
        "brier": mean(((of.answers - of.truth) ** 2).mean(1), weights),
        **{f"auc/{name}": values for name, values in each.items()},
        **{f"ece/{name}": calibration_error(so[:, k], of.answers[:, k], weights) for k, name in names},
    }


def of_values(of: Scored, weights: np.ndarray) -> Scores:
    """Of a number."""
    true, found = of.truth[:, 0], of.answers[:, 0]
    return {
        "spearman": spearman(true, found, weights),
        "pearson": pearson(true, found, weights),
        "mae": mean(np.abs(true - found), weights),
    }


def of_risks(of: Scored, weights: np.ndarray) -> Scores:
    """Of log hazards. Networks of other folds count risks from another zero and in other steps, so pairs are of one
    fold."""
    return {"c_index": c_index(of.truth[:, 0], of.truth[:, 1] > 0, of.answers[:, 0], weights, of.folds)}


def halves_differ(of: Scored) -> dict[str, float]:
    """The log-rank test between the halves of each fold by risk."""
    is_high = survival.is_higher_half(of.answers[:, 0], of.folds)
    return {"log_rank_p": survival.log_rank(of.truth[:, 0], of.truth[:, 1] > 0, is_high)}
