"""What a file is by its first bytes, and which readers to ask."""

from __future__ import annotations

import re
from pathlib import Path

from geryon.errors import InputError
from geryon.slides import tiff_tags

OPENSLIDE_FIRST = {".mrxs", ".vms", ".vmu", ".svslide", ".czi"}
"""Formats whose first bytes are those of something else (MRXS is a JPEG, VMS a text) or of no known kind."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SYNTHETIC = b"geryon synthetic slide"
"""Among the first bytes of the settings of a slide that is painted when it is read."""
PNG, JPEG, SQLITE, CZI = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"SQLite format 3\0", b"ZISRAWFILE"


MAX_PX_A_BYTE = 200_000
"""The table of tiles alone takes 8 bytes for a tile of at most about 1024²: a TIFF that claims more is damaged."""
MAX_SEGMENT_PX = 1 << 28
"""A tile or strip is decoded whole: one larger than this can't be read in bounded memory."""


def candidates(path: Path, *, extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the readers to ask in turn; InputError when nothing at `path` can be a slide.

    Of a TIFF the first is OpenSlide, which knows the vendors' ways; plain ones, Aperio's among them, go to the tiff
    reader, which gives the same pixels several times as fast (docs/adr/0005-readers.md). `extra` are readers of other
    packages: they are asked after ours.
    """
    if path.is_dir():
        return (*_of_folder(path), *extra)
    head = _head(path)
    if path.suffix.lower() in OPENSLIDE_FIRST or head.startswith((SQLITE, CZI)):
        return ("openslide", *extra)
    if head.startswith(TIFF):
        return (*(("tiff", "openslide") if tiff_tags.is_plain(path) else ("openslide", "tiff")), *extra)
    if head[128:132] == b"DICM":
        return ("openslide", "dicom", *extra)
    if head.startswith((PNG, JPEG)):
        return ("image", *extra)
    if head.startswith(b"{") and SYNTHETIC in head:
        return ("synthetic", *extra)
    if extra:
        return extra
    raise InputError(
        what=f"its content is of no format known here, whatever its name ends in ({_looks_like(head)})",
        where=str(path),
        mend="give a whole-slide file (SVS, NDPI, MRXS, SCN, DICOM, TIFF, OME-Zarr ...), a PNG or a JPEG",
    )


def check_tiff_claim(path: Path, width: int, height: int) -> None:
    """InputError when a TIFF is too small for the size it states; called before anything is allocated."""
    size = path.stat().st_size
    if width * height > MAX_PX_A_BYTE * size:
        what = f"claims {width} x {height} px in {size} bytes: damaged or not a slide"
        raise InputError(what=what, where=str(path), mend="copy the file again")


def check_segment(path: Path, width: int, height: int) -> None:
    """InputError for a tile or strip too large to decode; libraries allocate it whole, and may end the process."""
    if width * height > MAX_SEGMENT_PX:
        mend = "write it as a tiled pyramid (vips tiffsave IN OUT --tile --pyramid --bigtiff)"
        raise InputError(what=f"one tile or strip holds {width} x {height} px", where=str(path), mend=mend)


def is_tiff(path: Path) -> bool:
    """True when the file begins as a TIFF or BigTIFF does."""
    return _head(path).startswith(TIFF)


def stem(path: Path) -> str:
    """The file's name without its endings, safe as the name of a folder.

    >>> stem(Path("/data/case 1.ome.tiff"))
    'case 1'
    """
    name = re.sub(
        r"\.ome$", "", path.resolve().stem if path.name in ("", ".", "..") else path.stem, flags=re.IGNORECASE
    )
    return re.sub(r"[^\w.+ ()=-]", "_", name).strip(". ") or "slide"


def _of_folder(path: Path) -> tuple[str, ...]:
    if any((path / n).is_file() for n in (".zattrs", ".zgroup", "zarr.json")):
        return ("zarr",)
    if any(path.glob("*.dcm")):
        return ("dicom",)
    raise InputError(
        what="this is a folder, not a slide",
        where=str(path),
        mend="give the files in it (of an MRXS slide: the .mrxs file beside it)",
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except FileNotFoundError as error:
        raise InputError(what="no such file", where=str(path), mend="check the path") from error
    except OSError as error:
        what = f"it can't be read: {error.strerror or error}"
        raise InputError(what=what, where=str(path), mend="check its permissions and the disk") from error
    if not head:
        raise InputError(what="the file is empty", where=str(path), mend="copy it again")
    return head


def _looks_like(head: bytes) -> str:
    return "text" if all(b in b"\t\r\n" or 32 <= b < 127 for b in head) else f"first bytes {head[:8].hex(' ')}"
