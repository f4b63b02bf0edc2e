"""Are two patches of one place? (Tellez et al., TPAMI 2019, appendix: both codes side by side, dense 256, one answer.)

Alike are two views of one place, moved and coloured apart; train.encoders.draws says what is unlike.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from geryon.train.encoders.objectives import Asked, Seen
from geryon.train.encoders.objectives.layers import head


class Contrastive(nn.Module):
    """Cross-entropy of that answer."""

    views, pairs = 2, True

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.encoder = asked.encoder
        self.answer = head(2 * asked.code, 1)

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        codes = self.encoder(torch.cat(seen.views)).chunk(2)
        said = self.answer(torch.cat(codes, dim=1))[:, 0].float()
        return {"pairs": functional.binary_cross_entropy_with_logits(said, seen.alike.float())}


build = Contrastive
