"""Finished pieces of a run, each one file renamed into place, which a resumed run takes over."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from geryon import errors, events
from geryon.atomic import host, is_running, remove, whole_file

FOLDER = ".parts"
_SUFFIX = ".part"
_SILENCE_SECONDS = 600.0
"""A lock of another machine that has not been renewed for so long is taken over."""
_RENEWAL_SECONDS = 30.0


class Parts:
    """The pieces in `folder`/`name`, made under `key` by this process alone; close it, or use `with`.

    Jobs of several kinds on one slide have a `name` each. `key` is a digest of all that decides their content: slide,
    model, settings, version. Pieces of another key are dropped. A broken piece counts as missing.
    """

    def __init__(self, folder: Path, key: str, *, name: str = FOLDER, tell: events.Tell = events.nobody) -> None:
        self.folder = Path(folder) / name
        self._lock = self.folder / "lock"
        self._good: set[str] = set()
        self._renewed = 0.0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _take(self._lock)
        except OSError as error:
            raise errors.from_os_error(error, where=str(self.folder), doing="opening the finished parts") from error
        try:
            self._keep_only(key, tell)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def keep(self, name: str, sections: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Store the piece `name`, whole or not at all; arrays of Python objects are refused (ValueError)."""
        with whole_file(self._path(name), lasting=False) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for section, arrays in sections.items():
                file.writestr(_member(section), _saved(arrays))
        self._good.add(name)
        self.renew()

    def has(self, name: str) -> bool:
        """True when the piece is there and each of its bytes is as it was written."""
        if name not in self._good and _is_good(self._path(name)):
            self._good.add(name)
        self.renew()
        return name in self._good

    def read(self, name: str, section: str) -> dict[str, np.ndarray]:
        """One section of the piece as it was kept.

        KeyError where it is missing or a byte of it is another, MachineError where the machine does not let it be read.
        """
        try:
            with zipfile.ZipFile(self._path(name)) as file:
                arrays = load(file.read(_member(section)))
        except _BROKEN as error:
            self._good.discard(name)
            if isinstance(error, OSError) and error.errno in errors.MACHINE_ERRNOS:
                path = str(self._path(name))
                raise errors.from_os_error(error, where=path, doing="reading a finished part") from error
            raise KeyError(name) from error
        self.renew()
        return arrays

    def names(self) -> list[str]:
        """The pieces that `has` is True for, sorted."""
        found = (path.name.removesuffix(_SUFFIX) for path in self.folder.glob(f"*{_SUFFIX}"))
        return sorted(name for name in found if not name.startswith(".") and self.has(name))

    def drop(self, name: str) -> None:
        """Forget one piece."""
        self._good.discard(name)
        remove(self._path(name))

    def finish(self) -> None:
        """Remove all pieces: the run is whole."""
        self._good.clear()
        self.close()
        try:
            shutil.rmtree(self.folder)
        except OSError as error:
            raise errors.from_os_error(error, where=str(self.folder), doing="removing finished parts") from error

    def close(self) -> None:
        """Let go of the slide; the pieces stay."""
        if (_holder(self._lock) or {}).get("token") == _token():
            remove(self._lock)

    def renew(self) -> None:
        """Tell other machines that this process is still at work."""
        now = time.monotonic()
        if now - self._renewed > _RENEWAL_SECONDS:
            self._renewed = now
            with suppress(OSError):  # the lock is a courtesy; the pieces are what matters
                os.utime(self._lock)

    def _path(self, name: str) -> Path:
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name), f"not fit for a file name: {name!r}"
        return self.folder / f"{name}{_SUFFIX}"

    def _keep_only(self, key: str, tell: events.Tell) -> None:
        path = self.folder / "key"
        old = path.read_text(encoding="utf-8") if path.is_file() else None
        if old == key:
            return
        pieces = list(self.folder.glob(f"*{_SUFFIX}"))
        for piece in pieces:
            remove(piece)
        if pieces:
            tell(
                events.Warned(
                    text=f"{self.folder.parent.name}: {len(pieces)} parts of an unfinished run are dropped, "
                    "for its slide, model, settings or version were others"
                )
            )
        with whole_file(path) as temporary:
            temporary.write_text(key, encoding="utf-8")


_BROKEN = (OSError, zipfile.BadZipFile, EOFError, ValueError, KeyError, NotImplementedError, SafetensorError)


def _member(section: str) -> str:
    """The name of a section in the zip archive that a piece is; its checksum there is compared at each read."""
    return f"{section}.safetensors"


def _saved(arrays: Mapping[str, np.ndarray]) -> bytes:
    try:
        return save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    except SafetensorError as error:
        raise ValueError(f"can't be kept: {error}") from error


def _is_good(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except _BROKEN:
        return False


def _token() -> str:
    return f"{host()} {os.getpid()} {_birth(os.getpid())}"


def _birth(pid: int) -> str:
    """When the process started, where /proc tells: numbers of processes are used again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _take(lock: Path) -> None:
    """Become the one process that works in this folder, or say who is."""
    mine = json.dumps({"host": host(), "pid": os.getpid(), "token": _token()})
    for _ in range(3):
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            holder = _holder(lock)
            if holder is None:
                continue
            if not _is_stale(lock, holder):
                raise _held(lock, holder) from None
            _set_aside(lock, holder)
            continue
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(mine)
        return
    raise _held(lock, _holder(lock) or {})


def _holder(lock: Path) -> dict[str, Any] | None:
    """What the lock says; {} when it is not readable yet (or never), None when it is gone."""
    try:
        document = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and isinstance(document.get("pid"), int) else {}


def _is_stale(lock: Path, holder: Mapping[str, Any]) -> bool:
    try:
        silent = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return True
    if not holder:  # its writer died between two instructions, or is writing it now
        return silent > 10
    if holder.get("host") != host():
        return silent > _SILENCE_SECONDS
    pid = int(holder["pid"])
    return not is_running(pid) or holder.get("token") != f"{host()} {pid} {_birth(pid)}"


def _set_aside(lock: Path, holder: Mapping[str, Any]) -> None:
    """Remove the stale lock, but not one that somebody made in the meantime."""
    aside = lock.with_name(f"lock.stale.{host()}.{os.getpid()}")
    try:
        os.rename(lock, aside)
    except FileNotFoundError:
        return
    if _holder(aside) != holder:
        os.rename(aside, lock)
    remove(aside)


def _held(lock: Path, holder: Mapping[str, Any]) -> errors.MachineError:
    who = f"process {holder['pid']} on {holder['host']}" if holder.get("host") else "another process"
    return errors.MachineError(
        what=f"{who} is working on this slide",
        where=str(lock.parent.parent),
        mend=f"wait for it; if it is gone, delete {lock}",
    )
