"""Model files on the Hugging Face hub: fetched once into a cache folder, checked, and then used without a network.

The hub's own client moves the bytes: it knows access tokens (`hf auth login`), mirrors (HF_ENDPOINT) and proxies.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from geryon import errors
from geryon.atomic import whole_file
from geryon.errors import InputError, MachineError, MissingPartError, UsageError
from geryon.nets.weights import ENCODER_KEY, file_sha256, read_document, read_metadata

BEGINNING = "hub:"
_PLACE = re.compile(
    r"hub:(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>[\w./ +-]+\.safetensors)"
    r"(?:@(?P<revision>[\w./-]+))?(?:#sha256=(?P<sha256>[0-9a-fA-F]{64}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One model file on the hub."""

    repository: str
    """Owner and name, "owner/name"."""
    file: str
    """Path in the repository; ends in .safetensors."""
    revision: str = "main"
    """Branch, tag or commit; only a commit never changes."""
    sha256: str = ""
    """Hexadecimal, lower case; "" where it is not known."""

    def __str__(self) -> str:
        return f"{BEGINNING}{self.repository}/{self.file}@{self.revision}"

    @property
    def name(self) -> str:
        """What a copy of it in a folder of models is called."""
        return Path(self.file).stem


def place_of(text: str) -> HubFile:
    """The file that hub:OWNER/NAME/FILE.safetensors[@REVISION][#sha256=HEX] names.

    >>> place_of("hub:lab/models/b.safetensors@v1").revision
    'v1'
    """
    found = _PLACE.fullmatch(text)
    if found is None or {"", ".", ".."} & set(f"{found['repository']}/{found['file']}".split("/")):
        raise UsageError(
            what="is no place of a model file on a hub",
            where=text,
            mend="write hub:OWNER/NAME/FILE.safetensors, behind it @REVISION and #sha256=HEX where you know them",
        )
    return HubFile(
        repository=found["repository"],
        file=found["file"],
        revision=found["revision"] or "main",
        sha256=(found["sha256"] or "").lower(),
    )


def fetched(place: HubFile) -> Path:
    """The cached copy of that file, fetched where there is none or its sum is another.

    A copy that is there is used without any network. Raises MissingPartError without the client, InputError where
    the file can't be had or is not what it should be: then nothing is left behind.
    """
    path = cached(place)
    if path.is_file() and (not place.sha256 or file_sha256(path) == place.sha256):
        return path
    with tempfile.TemporaryDirectory(prefix="geryon-") as folder:
        fresh = _downloaded(place, Path(folder))
        _check(fresh, place)
        try:
            with whole_file(path) as target:
                shutil.copyfile(fresh, target)
        except MachineError as error:
            mend = "set XDG_CACHE_HOME to a folder with room that you may write to"
            raise MachineError(what=error.what, where=error.where, mend=mend) from error
    return path


def cached(place: HubFile) -> Path:
    """Where the copy of that file is kept, whether it is there or not."""
    return cache_folder() / "models" / place.repository / quote(place.revision, safe="") / place.file


def cache_folder() -> Path:
    """Our folder for what can be fetched again: below XDG_CACHE_HOME, else where the system keeps such things."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "geryon"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise MachineError(
            what="this user has no home folder to keep fetched models in", mend="set XDG_CACHE_HOME to a folder"
        ) from error
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "geryon"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "geryon" / "cache"
    return home / ".cache" / "geryon"


def _downloaded(place: HubFile, folder: Path) -> Path:
    try:
        return download(place.repository, place.file, revision=place.revision, folder=folder)
    except ImportError as error:
        raise MissingPartError(
            what="the client of the hub is not installed",
            where=str(place),
            mend=f'pip install "geryon[hub]", or {_by_hand(place)}',
        ) from error
    except Exception as error:  # the hub's client raises classes of its own, and those of its HTTP library
        if isinstance(error, OSError) and error.errno in errors.MACHINE_ERRNOS:
            raise errors.from_os_error(error, where=str(folder), doing="fetching") from error
        raise InputError(
            what=f"can't be fetched: {_in_one_line(error)}",
            where=str(place),
            mend=f"check the name and the network (hf auth login, where its owner asks for it), or {_by_hand(place)}",
        ) from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ") or type(error).__name__


def _by_hand(place: HubFile) -> str:
    return (
        f"bring {Path(place.file).name} from elsewhere into a folder, set GERYON_MODELS to that folder "
        f"and give the model as {place.name}"
    )


def download(repository: str, file: str, *, revision: str | None = None, folder: Path | None = None) -> Path:
    """A file of the hub, in `folder` or in the client's own cache; raises what the client does."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, file, revision=revision, local_dir=folder))


def _check(path: Path, place: HubFile) -> None:
    found = file_sha256(path)
    if place.sha256 and found != place.sha256:
        raise InputError(
            what=f"the fetched file has SHA-256 {found}, not {place.sha256}; it was not kept",
            where=str(place),
            mend="ask for the sum at the place where you read it, or name the revision that it is of",
        )
    try:
        if ENCODER_KEY in read_metadata(path):
            from geryon.nets.encoders.document import read_encoder_document

            read_encoder_document(path)
        else:
            read_document(path)
    except InputError as error:
        raise InputError(
            what=f"what was fetched is no model of ours and was not kept: it {error.what}",
            where=str(place),
            mend="check the name of the file and its revision",
        ) from error
