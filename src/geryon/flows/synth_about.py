"""The settings of a synthetic set, kept beside it: what lies there is taken over by the same ones alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geryon.atomic import whole_file


def about(settings: Mapping[str, Any]) -> str:
    """What such a file holds for these settings."""
    return json.dumps(settings, indent=1) + "\n"


def is_about(path: Path, text: str) -> bool:
    """True where the file holds just that; False where it is another or lacks."""
    try:
        return path.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False


def keep(path: Path, text: str) -> None:
    """Write the file, whole or not at all."""
    with whole_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
