"""Functions are compiled in one way, which says what to do where compiled code can't be kept."""

from __future__ import annotations

import pytest
from numba.core import caching

from geryon.compiling import compiled
from geryon.errors import MachineError


def twice(x):  # type: ignore[no-untyped-def]
    return 2 * x


def test_where_no_folder_may_be_written_it_is_said_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(MachineError, match="test_compiling.py: .* can be kept neither .*; set NUMBA_CACHE_DIR"):
        compiled(twice)


def test_other_faults_are_numbas_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.config, "CACHE_LOCATOR_CLASSES", "NoSuchLocator")
    with pytest.raises(RuntimeError, match="NoSuchLocator"):
        compiled(twice)


def test_the_folder_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(tmp_path))
    assert compiled(twice)(21) == 42
    assert list(tmp_path.rglob("*.nbi"))
