"""Torch modules by name; each file has build(settings, heads) -> Module."""

from __future__ import annotations

from dataclasses import dataclass

TOPOLOGIES = {
    "geryon-s": "geryon.nets.topologies.geryon_s:build",
    "cerberus": "geryon.nets.topologies.cerberus:build",
}
"""Entry points of the group geryon.topologies add to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One map that the network must give."""

    name: str
    """"task/map"."""
    channels: int
    stride: int
    """Size of the map's pixel in pixels of the network's input."""
