"""Which slide is it: a digest of what the file holds, cheap even for gigabytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from geryon.errors import InputError

LOOK_BYTES = 1 << 20


def fingerprint(path: Path | None) -> str:
    """SHA-256 of a file's size and its first, middle and last megabyte; of a folder, of the names and sizes in it.

    "" for a slide in memory. A copy has the same fingerprint, whatever its name and date. InputError where it can't be
    read.
    """
    if path is None:
        return ""
    try:
        return _digest(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            what=f"can't be read: {reason}", where=str(path), mend="check the path and its rights"
        ) from error


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{entry.relative_to(path).as_posix()} {entry.stat().st_size}\n".encode())
        return digest.hexdigest()
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({0, max(0, (size - LOOK_BYTES) // 2), max(0, size - LOOK_BYTES)}):
            file.seek(start)
            digest.update(file.read(LOOK_BYTES))
    return digest.hexdigest()
