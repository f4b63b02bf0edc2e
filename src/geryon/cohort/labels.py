"""How a table's cells are read as labels: names of classes, flags, numbers, times and events."""

from __future__ import annotations

import math
from collections.abc import Sequence

from geryon.cohort.document import TargetDocument
from geryon.errors import UsageError

BLANK = ("", "na", "n/a", "nan", "null")
"""What a cell without a label holds, in any case."""
NO, YES = ("0", "0.0", "false", "no", "negative", "-"), ("1", "1.0", "true", "yes", "positive", "+")


def is_blank(cell: str) -> bool:
    """True for a cell that holds no label."""
    return cell.strip().casefold() in BLANK


def number(cell: str) -> float:
    """The finite number in a cell; ValueError else."""
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def are_numbers(cells: Sequence[str]) -> bool:
    """True where each cell is a finite number."""
    try:
        return bool([number(cell) for cell in cells]) or not cells
    except ValueError:
        return False


def in_order(values: set[str]) -> list[str]:
    """Numbers by size, other names by the alphabet.

    >>> in_order({"10", "9"}), in_order({"b", "a"})
    (['9', '10'], ['a', 'b'])
    """
    return sorted(values, key=float) if are_numbers(list(values)) else sorted(values)


def any_classes(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """Two classes or more, in the order asked for; ValueError says what is wrong (so of the next)."""
    there = {cell for cell in cells[0] if not is_blank(cell)}
    if strangers := sorted(there - set(asked)) if asked else []:
        raise ValueError(f"it holds {', '.join(strangers[:5])}, which the classes asked for do not name")
    if missing := [name for name in asked if name not in there]:
        raise ValueError(f"no slide is of the class {missing[0]}")
    if len(there) < 2:
        raise ValueError(f"it holds one class alone ({', '.join(there) or 'none'}): there is nothing to tell apart")
    return tuple(asked or in_order(there))


def two_classes(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """Two classes."""
    found = any_classes(cells, asked)
    if len(found) != 2:
        told = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise ValueError(f"it holds {len(found)} classes ({told}), not two; give --target multiclass or ordinal")
    return found


def ordered_classes(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """Three classes or more, numbers or in the order asked for."""
    found = any_classes(cells, asked)
    if not asked and not are_numbers(found):
        raise ValueError(f"its classes ({', '.join(found[:5])}) have no order; give it: --classes least,...,most")
    if len(found) < 3:
        raise ValueError("it holds two classes, which have no order to learn; give --target binary")
    return found


def no_classes(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    """None; UsageError where some are asked for."""
    if asked:
        raise UsageError(what="--classes is for binary, multiclass and ordinal targets", mend="leave it out")
    return ()


def class_number(row: Sequence[str], target: TargetDocument) -> list[float]:
    """[the class's place in the target's order]"""
    return [float(target.classes.index(row[0]))]


def flags(row: Sequence[str], target: TargetDocument) -> list[float]:
    """0 or 1 of each column; ValueError says what is wrong (so of the next)."""
    return [_flag(cell) for cell in row]


def value(row: Sequence[str], target: TargetDocument) -> list[float]:
    """[the number]"""
    try:
        return [number(row[0])]
    except ValueError:
        raise ValueError(f"{row[0]!r} is no number") from None


def time_and_event(row: Sequence[str], target: TargetDocument) -> list[float]:
    """[time above 0, 0 or 1]"""
    (time,) = value(row[:1], target)
    if time <= 0:
        raise ValueError(f"the time {row[0]} is not above 0")
    try:
        return [time, _flag(row[1])]
    except ValueError:
        raise ValueError(f"the event {row[1]!r} is neither 0 nor 1") from None


def _flag(cell: str) -> float:
    told = cell.strip().casefold()
    if told not in (*NO, *YES):
        raise ValueError(f"{cell!r} is neither 0 nor 1")
    return float(told in YES)
