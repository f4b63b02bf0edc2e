"""Several classification tasks at once: one encoder, a head each (Tellez et al., MIDL 2020; heads of TPAMI 2019)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from geryon.train.encoders.objectives import Asked, Seen
from geryon.train.encoders.objectives.layers import head


class Supervised(nn.Module):
    """Cross-entropy of each task over its own patches."""

    views, pairs = 1, False

    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self.encoder = asked.encoder
        self.names = [task.name for task in asked.tasks]
        self.heads = nn.ModuleList(head(asked.code, len(task.classes)) for task in asked.tasks)

    def losses(self, seen: Seen) -> Mapping[str, Tensor]:
        codes = self.encoder(seen.views[0])
        found = {}
        for k, (name, one) in enumerate(zip(self.names, self.heads, strict=True)):
            mine = seen.task == k
            if int(mine.sum()) > 1:  # norms need two
                found[name] = functional.cross_entropy(one(codes[mine]).float(), seen.labels[mine])
        return found


build = Supervised
