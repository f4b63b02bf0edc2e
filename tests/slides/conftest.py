from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from slides_making import data_folder


@pytest.fixture
def data() -> Callable[[str], Path]:
    """Folder of real data by name, or a skipped test."""
    return data_folder
