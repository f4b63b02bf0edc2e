"""Files and folders that appear whole or not at all: temporary name in the same folder, fsync, rename."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from geryon import errors

RESERVE_BYTES = 1 << 24
"""Zeros written at once where room can't be reserved otherwise."""


@contextmanager
def whole_file(path: Path, *, lasting: bool = True) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and is gone when it does not.

    Not `lasting`: a file whose bytes are checked whenever it is read, in a folder that is removed in the end. It need
    not survive a power cut, and what killed processes left beside it is not looked for, which would cost more with
    each file there.
    """
    temporary = path.with_name(f".{path.name}.{host()}.{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if lasting:
            _sweep(path)
        yield temporary
        if lasting:
            _sync(temporary)
        os.replace(temporary, path)
        if lasting:
            sync_folder(path.parent)
    except OSError as error:
        raise errors.from_os_error(error, where=str(path), doing="writing") from error
    finally:
        remove(temporary)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and is gone when it does not.

    A folder that is there already is never replaced: that is an error of whoever calls.
    """
    temporary = path.with_name(f".{path.name}.{host()}.{os.getpid()}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        shutil.rmtree(temporary, ignore_errors=True)  # of a process that had this number before
        temporary.mkdir()
        yield temporary
        for inner in sorted(temporary.rglob("*")):
            if inner.is_file():
                _sync(inner)
        if path.exists():  # os.rename would put it in the place of an empty folder
            raise FileExistsError(f"{path} is there already")
        os.rename(temporary, path)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise errors.from_os_error(error, where=str(path), doing="writing") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_file_of(path: Path) -> Iterator[BinaryIO]:
    """The same as an open file, for a library that can't stand a full disk.

    HDF5 1.14 ends the process by a signal after a flush that failed, and torch's zip raises what says nothing of the
    disk. Here no write fails: once one was refused nothing more is written, and the refusal is told in the end.
    """
    with whole_file(path) as temporary, _Patient(temporary, "w+") as file:
        try:
            yield file  # type: ignore[misc]
        finally:
            if file.refused:
                raise file.refused


class _Patient(io.FileIO):
    """An unbuffered file whose writes seem to succeed."""

    refused: OSError | None = None

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        left = memoryview(data).cast("B") if size else memoryview(b"")
        while left and self.refused is None:
            left = left[self._tried(super().write, left) or len(left) :]
        return size

    def truncate(self, size: int | None = None) -> int:
        return self._tried(super().truncate, size)

    def _tried(self, do: Callable[..., int], given: object) -> int:
        try:
            return do(given) if self.refused is None else 0
        except OSError as error:
            self.refused = error
            return 0


def reserve(file: BinaryIO, nbytes: int) -> None:
    """Room on the disk for so many bytes from where the file ends: writing through a map into a file without ends the
    process by a signal when the disk is full."""
    start = file.seek(0, os.SEEK_END)
    file.flush()
    if not nbytes:
        return
    try:
        os.posix_fallocate(file.fileno(), start, nbytes)
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        for begun in range(0, nbytes, RESERVE_BYTES):  # neither this system nor this disk can promise it
            file.write(bytes(min(RESERVE_BYTES, nbytes - begun)))


def host() -> str:
    """This machine's name, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def is_running(pid: int) -> bool:
    """True while a process of that number lives on this machine."""
    if pid == os.getpid():
        return True
    if os.name == "nt":  # os.kill(pid, 0) ends a process there
        try:
            import psutil
        except ImportError:  # it does not come with the package: what can't be asked may be alive
            return True
        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process
        return True
    return True


def remove(path: Path) -> None:
    """Delete the file if it is there and may be deleted; a left-over is no fault."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system allows it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse; the rename stands all the same
        pass
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Delete what killed processes of this machine left of the same file."""
    start, end = f".{path.name}.{host()}.", ".writing"
    for found in path.parent.iterdir():
        if found.name.startswith(start) and found.name.endswith(end):
            number = found.name[len(start) : -len(end)]
            if number.isdigit() and not is_running(int(number)):
                shutil.rmtree(found, ignore_errors=True) if found.is_dir() else remove(found)
