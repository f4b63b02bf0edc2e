"""Loops over pixels and corners as machine code."""

from __future__ import annotations

from typing import Any

import numba

from geryon.errors import MachineError


def compiled(function: Any) -> Any:
    """The function as machine code that runs beside other threads, compiled at its first call and kept for later ones.

    It is kept beside the function's file, or in the user's cache folder where that may not be written. MachineError
    where neither may, since every process would compile anew.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError as error:
        if not str(error).startswith("cannot cache function"):
            raise
        raise MachineError(
            what="compiled code can be kept neither here nor in the user's cache folder",
            where=function.__code__.co_filename,
            mend="set NUMBA_CACHE_DIR to a folder you may write to",
        ) from error
