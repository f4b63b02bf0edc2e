"""Packed samples as a bare machine reads them: one safetensors file, the JSON in its header lists the samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from geryon.errors import InputError

KEY = "geryon-pack"
MADE_FOR = "geryon-pack-key"
"""Beside it: the digest of what was asked for, so that a pack made for another recipe is not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with the targets and weights of the tasks that its source labels."""

    source: str
    name: str
    group: str
    image: np.ndarray
    """uint8 RGB [y, x, 3]"""
    targets: Mapping[str, np.ndarray]
    """{"task/map": uint8 [y, x, channel]}: value times 255."""
    weights: Mapping[str, np.ndarray]
    """{"task/map": uint8 [y, x]}: weight times 20, 0 where nothing is known."""
    stratum: str = ""
    """Of its case: see train.source.Case."""


def key_of_pack(path: Path) -> str:
    """The key that the pack was made with; "" where it says none."""
    try:
        with safe_open(path, framework="numpy") as file:
            return str((file.metadata() or {}).get(MADE_FOR, ""))
    except (SafetensorError, OSError) as error:
        raise _no_pack(path, error) from error


def _no_pack(path: Path, error: Exception) -> InputError:
    return InputError(what=f"is no pack of samples: {error}", where=str(path), mend="make it anew")


def load_pack(path: Path) -> Iterator[Sample]:
    """The samples of a pack, in order."""
    try:
        with safe_open(path, framework="numpy") as file:
            index = json.loads((file.metadata() or {})[KEY])
            names: dict[str, list[str]] = {}
            for name in sorted(file.keys()):
                number, _, rest = name.partition("/")
                names.setdefault(number, []).append(rest)
            for i, facts in enumerate(index):
                mine = {rest: file.get_tensor(f"{i}/{rest}") for rest in names[str(i)]}
                yield Sample(
                    **facts, image=mine["image"], targets=_under(mine, "target/"), weights=_under(mine, "weight/")
                )
    except (SafetensorError, KeyError, ValueError, FileNotFoundError) as error:
        raise _no_pack(path, error) from error


def _under(tensors: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
