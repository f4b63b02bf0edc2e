"""What a long run tells its listener; bars, log lines and notebooks are listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A stage begins; `done` of `total` units were finished by an earlier run."""

    stage: str
    total: int
    unit: str
    done: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """`n` more units of the stage are finished; `note` may hold a running figure."""

    stage: str
    n: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something the user should know that does not stop the run."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The stage is over."""

    stage: str
    seconds: float


Event = Started | Advanced | Warned | Finished
Tell = Callable[[Event], None]


def nobody(event: Event) -> None:
    """The listener that does not listen."""
