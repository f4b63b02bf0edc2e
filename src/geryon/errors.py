"""What can go wrong for a user, one class per exit code.

GeryonError
├── UsageError        2   the command line or recipe is wrong
├── InputError        3   an input can't be used
├── MissingPartError  4   an optional part is not installed
├── MachineError      5   the machine gave out: disk, memory, permission
└── SomeFailedError   6   some of many inputs failed, the others are done
"""

from __future__ import annotations

import errno


class GeryonError(Exception):
    """One sentence for the person who must act: what, where, and how to mend it."""

    exit_code = 1

    def __init__(self, *, what: str, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        super().__init__(what, where, mend)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.mend}" if self.mend else head

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.mend)


def _rebuild(kind: type[GeryonError], what: str, where: str, mend: str) -> GeryonError:
    return kind(what=what, where=where, mend=mend)


class UsageError(GeryonError):
    """The command line or recipe asks for something that does not exist or can't be."""

    exit_code = 2


class InputError(GeryonError):
    """A slide, image, mask, weights file or table can't be used."""

    exit_code = 3


class MissingPartError(GeryonError):
    """An optional dependency is needed and absent; `mend` holds the one `pip install`."""

    exit_code = 4


class MachineError(GeryonError):
    """Disk full, memory gone, or no permission; what was finished is kept."""

    exit_code = 5


class SomeFailedError(GeryonError):
    """Some of many inputs failed; the others are done and a table of failures is written."""

    exit_code = 6


MACHINE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.EIO)
"""What the operating system says where the machine gave out, and not an input."""


def from_os_error(error: OSError, *, where: str, doing: str) -> MachineError:
    """The MachineError that says what the operating system refused while `doing`."""
    mends = {
        errno.ENOSPC: "free some space and run the same command again: finished work is kept",
        errno.EDQUOT: "free some quota and run the same command again: finished work is kept",
        errno.EACCES: "choose an output folder you may write to (--out)",
        errno.EPERM: "choose an output folder you may write to (--out)",
        errno.EROFS: "choose an output folder that is not read-only (--out)",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    reason = error.strerror or str(error)
    return MachineError(
        what=f"{doing} failed: {reason}",
        where=where,
        mend=mends.get(error.errno or 0, "see the message of the operating system"),
    )
