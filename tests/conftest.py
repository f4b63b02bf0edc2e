"""What tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared_folder(*parts: str) -> Path:
    """A place in the folder `shared` beside the repository; the test is skipped where it is absent."""
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"the folder shared/{'/'.join(parts)} is not beside the repository")
    return path


@pytest.fixture
def shared() -> Path:
    """The folder `shared` beside the repository."""
    return shared_folder()
