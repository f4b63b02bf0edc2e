"""BiGAN (Donahue et al., ICLR 2017) with the generator and discriminator of Tellez et al. (TPAMI 2019, appendix).

The discriminator tells (patch, its code) from (painted patch, drawn code); encoder and generator make it err. Both
sides learn in every step by one optimiser: each side's loss leaves the other's weights alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.train.encoders.objectives import Asked, Seen
from geryon.train.encoders.objectives.layers import SLOPE, Painter, channels, image_of

SIDE_PX = 64
DROP = 0.5


class Judge(nn.Module):
    """A patch and a code to one logit: four strided convolutions, then two dense layers over both."""

    def __init__(self, code: int, width: float) -> None:
        super().__init__()
        wide, dense = channels(128, width), channels(1024, width)
        layers: list[nn.Module] = []
        before = 3
        for _ in range(4):
            layers += [nn.Conv2d(before, wide, 3, stride=2), nn.LeakyReLU(SLOPE)]
            before = wide
        self.eye = nn.Sequential(*layers, nn.Flatten(), nn.Linear(9 * wide, code))
        hidden: list[nn.Module] = []
        before = 2 * code
        for _ in range(2):
            hidden += [nn.Linear(before, dense), nn.LeakyReLU(SLOPE), nn.Dropout(DROP)]
            before = dense
        self.mind = nn.Sequential(*hidden, nn.Linear(dense, 1))

    def forward(self, image: Tensor, code: Tensor) -> Tensor:
        said: Tensor = self.mind(torch.cat([self.eye(image), code], dim=1))[:, 0]
        return said.float()


class Bigan(nn.Module):
    """The judge's error, and the error of the two that are judged."""

    views, pairs = 1, False

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.encoder = asked.encoder
        wide = channels(128, asked.width)
        first, dense = channels(64, asked.width), channels(1024, asked.width)
        self.painter = Painter(asked.code, SIDE_PX, first, [wide] * 4, (dense,))
        self.judge = Judge(asked.code, asked.width)

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        image = image_of(seen.views[0], SIDE_PX)
        code = self.encoder(seen.views[0]).float()
        drawn = torch.randn_like(code)
        painted = self.painter(drawn).float()
        judged = self._told(image, code.detach(), painted.detach(), drawn, is_true=True)
        self.judge.requires_grad_(False)
        fooled = self._told(image, code, painted, drawn, is_true=False)
        self.judge.requires_grad_(True)
        return {"judge": judged, "fooled": fooled}

    def _told(self, image: Tensor, code: Tensor, painted: Tensor, drawn: Tensor, *, is_true: bool) -> Tensor:
        real, made = self.judge(image, code), self.judge(painted, drawn)
        answer = torch.full_like(real, float(is_true))
        cross = functional.binary_cross_entropy_with_logits
        return (cross(real, answer) + cross(made, 1 - answer)) / 2


build = Bigan
