"""A variational auto-encoder (Kingma & Welling, ICLR 2014) with the decoder of Tellez et al. (TPAMI 2019, appendix).

The encoder's code is the mean; its spread comes from one more dense layer over the code, so that any body will do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.train.encoders.objectives import Asked, Seen
from geryon.train.encoders.objectives.layers import Painter, channels, image_of

KL_WEIGHT = 5e-5
WIDTHS = 256, 128, 64, 32, 16


class Vae(nn.Module):
    """Squared error of the painted patch, and the divergence of its code from a standard normal one."""

    views, pairs = 1, False

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.encoder, self.side_px = asked.encoder, asked.seen_px
        self.spread = nn.Linear(asked.code, asked.code)
        widths = [channels(n, asked.width) for n in WIDTHS]
        self.decoder = Painter(asked.code, asked.seen_px, channels(512, asked.width), widths)

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        mean = self.encoder(seen.views[0]).float()
        log_variance = self.spread(mean).clamp(-10, 10)
        code = mean + torch.randn_like(mean) * torch.exp(log_variance / 2)
        error = functional.mse_loss(self.decoder(code).float(), image_of(seen.views[0], self.side_px))
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return {"error": error, "divergence": KL_WEIGHT * divergence}


build = Vae
