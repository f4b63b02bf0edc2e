"""Losses of slide-level questions: (logits [n, outputs], truth float32 [n, k] as in targets.py) -> one number."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from geryon import plugins

GROUP = "geryon.slide_losses"
LOSSES = {
    "binary": "geryon.cohort.losses:binary",
    "multiclass": "geryon.cohort.losses:multiclass",
    "ordinal": "geryon.cohort.losses:ordinal",
    "multilabel": "geryon.cohort.losses:multilabel",
    "regression": "geryon.cohort.losses:regression",
    "survival": "geryon.cohort.losses:survival",
}


def loss_of(name: str, logits: Tensor, truth: Tensor) -> Tensor:
    """The loss of that name."""
    value: Tensor = plugins.look_up(LOSSES, GROUP, name)(logits, truth)
    return value


def binary(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of one logit."""
    return functional.binary_cross_entropy_with_logits(logits, truth)


multilabel = binary
"""The same of one logit a label, each label alike."""


def multiclass(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of a logit a class."""
    return functional.cross_entropy(logits, truth[:, 0].long())


def ordinal(logits: Tensor, truth: Tensor) -> Tensor:
    """Negative log-likelihood of the grade under cumulative logits (McCullagh 1980)."""
    n = len(truth)
    # P(grade > k) for k = -1..K-1; a grade's own probability is the difference of two neighbours.
    above = torch.cat([logits.new_ones(n, 1), torch.sigmoid(logits), logits.new_zeros(n, 1)], 1)
    p = (above[:, :-1] - above[:, 1:]).gather(1, truth.long())
    return -torch.log(p + 1e-7).mean()


def regression(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error; the trainer hands over standardised values."""
    return functional.mse_loss(logits, truth)


def survival(logits: Tensor, truth: Tensor) -> Tensor:
    """Cox's negative log partial likelihood an event, with Breslow's rule for ties (Biometrics 1974); the risk sets
    are those of the batch. 0 where nobody died in it."""
    risk, time, event = logits[:, 0], truth[:, 0], truth[:, 1]
    at_risk = time[None, :] >= time[:, None]
    log_sum = torch.logsumexp(risk[None, :].masked_fill(~at_risk, -torch.inf), 1)
    return -((risk - log_sum) * event).sum() / event.sum().clamp(min=1)
