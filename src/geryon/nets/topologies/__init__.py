"""Torch modules by name; each file has build(settings, heads) -> Module.

A file may also say where weights can come from at first: start_from_imagenet(network), or, for places that a recipe
names, read_start(place) -> ModelDocument with their terms, and start_from(network, settings, place).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from geryon.errors import UsageError

TOPOLOGIES = {
    "geryon-s": "geryon.nets.topologies.geryon_s:build",
    "geryon-b": "geryon.nets.topologies.geryon_b:build",
    "cerberus": "geryon.nets.topologies.cerberus:build",
    "timm": "geryon.nets.topologies.timm_:build",
}
"""Entry points of the group geryon.topologies add to it."""


def check_settings(settings: Mapping[str, Any], faults: Mapping[str, Callable[[Any], str]]) -> None:
    """Refuse settings that a topology does not have, and values that it says something against."""
    said = [f"there is no setting {name!r}" for name in settings if name not in faults]
    said += [
        f"{name} is {value!r}, {no}"
        for name, value in settings.items()
        if name in faults and (no := faults[name](value))
    ]
    if said:
        raise UsageError(
            what=f"settings of the network: {'; '.join(said)}",
            where="net.settings",
            mend=f"its settings are {', '.join(faults)}",
        )


def whole_numbers(count: int, most: int) -> Callable[[Any], str]:
    """What is said against a value that is not `count` whole numbers of 1 to `most`; "" of one that is."""

    def said(value: Any) -> str:
        right = isinstance(value, list | tuple) and len(value) == count
        right = right and all(type(n) is int and 1 <= n <= most for n in value)
        return "" if right else f"must be {count} whole numbers, 1 to {most}"

    return said


def texts(value: Any) -> str:
    """What is said against a value that is no list of texts."""
    return (
        "" if isinstance(value, list | tuple) and all(isinstance(t, str) for t in value) else "must be a list of texts"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One map that the network must give."""

    name: str
    """"task/map"."""
    channels: int
    stride: int
    """Size of the map's pixel in pixels of the network's input."""


FEATURES = Head(name="features", channels=0, stride=32)
"""Asked like a map: what the encoder sees, float32 [y / 32, x / 32, code], as many channels as the topology has there.

A topology gives it by `features(images)`, without its heads, and `with_features(images)`, beside them.
"""
