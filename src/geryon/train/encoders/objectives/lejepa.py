"""LeJEPA (Balestriero & LeCun, arXiv 2511.08544, 2025): views of one place agree, and embeddings are Gaussian.

SIGReg tests the embeddings of a batch along random directions against a standard normal by Epps and Pulley's
statistic: n times the integral over t of |empirical characteristic function - exp(-t^2 / 2)|^2 exp(-t^2 / 2). The
embedding is a small head's over the code, so that the code itself need not be Gaussian.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from geryon.train.encoders.objectives import Asked, Seen
from geryon.train.encoders.objectives.layers import head

SIGREG_WEIGHT = 0.05
DIRECTIONS, KNOTS, REACH = 256, 17, 5.0
"""Directions of a batch, points of the quadrature, and where it ends."""
EMBEDDING = 64


class Lejepa(nn.Module):
    """How far the views are from their mean, and how far their embeddings are from Gaussian."""

    views, pairs = 2, False

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.encoder = asked.encoder
        self.project = head(asked.code, EMBEDDING, 512)

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        both = self.project(self.encoder(torch.cat(seen.views))).float()
        views = torch.stack(both.chunk(len(seen.views)))
        apart = (views - views.mean(dim=0)).square().mean()
        gaussian = torch.stack([sigreg(view) for view in views]).mean()
        return {"apart": (1 - SIGREG_WEIGHT) * apart, "gaussian": SIGREG_WEIGHT * gaussian}


def sigreg(embedding: Tensor) -> Tensor:
    """The mean statistic of embeddings, float [n, d], over random directions; about 1 for a standard normal."""
    directions = torch.randn(embedding.shape[1], DIRECTIONS, device=embedding.device)
    along = embedding @ (directions / directions.norm(dim=0))
    t = torch.linspace(0, REACH, KNOTS, device=embedding.device)
    normal = torch.exp(-t.square() / 2)
    angles = along[:, :, None] * t
    off = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
    # The integrand is even: twice the half from zero on.
    return 2 * torch.trapezoid(off * normal, t, dim=1).mean() * len(embedding)


build = Lejepa
