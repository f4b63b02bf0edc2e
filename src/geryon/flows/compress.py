"""Compress: a slide goes in; a small volume comes out, one code for each cell with tissue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geryon import __version__, events
from geryon.errors import InputError, MachineError, UsageError
from geryon.flows.cells import Cells
from geryon.flows.compress_options import CompressOptions
from geryon.flows.question import digest_of, question_of_slide
from geryon.flows.tiled import TileCodes, encode_tiles
from geryon.flows.windowed import WindowCodes, encode_windows, question_of_windows
from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.model import CELL_PX
from geryon.slides.coverage import tissue_shares
from geryon.slides.normalise import Normalised, normalised
from geryon.slides.reader import GRID_WITHIN, Slide, open_slide
from geryon.slides.tissue import LowPower, low_power, read_mask, refuse_misplaced, tissue_mask
from geryon.space import units
from geryon.space.turns import TURNS
from geryon.space.windows import Tiling
from geryon.store.features import NAME, About, Piece, Volume, open_volume, side_of_chunk, write_volume
from geryon.store.parts import Parts

PARTS = ".parts-features"
PARTS_FORMAT = 1
"""Raised when the content of kept tiles changes its meaning."""
CELLS_TOLD = 20
"""How many unreadable cells a volume names; all are counted."""


def compress(
    path: str | Path,
    *,
    out: str | Path,
    encoder: str | Path | Encoder,
    options: CompressOptions | None = None,
    tell: events.Tell = events.nobody,
) -> Volume:
    """Encode the tissue of a slide into OUT/<slide>/features.zarr; return it, open.

    Patch by patch (flows/tiled.py), but for a model's own encoder, which sees windows (flows/windowed.py).

    A finished volume is never made again: it is returned as it is, and another encoder or other settings for its
    folder are a UsageError. An interrupted run goes on where it stopped and gives the same bytes. InputError where the
    slide or mask can't be used, or the encoder's resolution can't be reached.
    """
    options = options or CompressOptions()
    # The published code's codes are compared to half a float16 step, which eight bits do not keep.
    engine = "float32" if options.is_legacy and options.engine == "auto" else options.engine
    net = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, engine=engine)
    with open_slide(path, mpp=options.mpp) as slide:
        return compress_slide(slide, net, Path(out) / slide.name, options=options, tell=tell)


def compress_slide(
    slide: Slide, net: Encoder, folder: Path, *, options: CompressOptions, tell: events.Tell = events.nobody
) -> Volume:
    """The same for an open slide and a loaded encoder."""
    about = about_slide(slide, net, options)
    if whole := whole_volume(folder, about):
        return whole
    if options.mask:
        refuse_misplaced(options.mask, slide, asked=options.use_mask)
    stain = _stain(slide, options)
    for text in (*about.warnings, *([stain.warning] if stain.warning else ())):
        tell(events.Warned(text=text))
    cells = plan_cells(slide, net, about, options)
    job = Job(slide=slide, net=net, about=about, cells=cells, options=options, stain=stain)
    with Parts(folder, key=job.key, name=PARTS, tell=tell) as parts:
        if not whole_volume(folder, about):  # another process may have been faster
            if net.model:
                codes = codes_by_window(job, parts, options.windows or net.model.window_px())
                encode_windows(slide, net=net.model, codes=codes, turns=options.turns, change=stain, tell=tell)
                write_windows(folder, job, codes)
            else:
                tiles = TileCodes(cells=cells, parts=parts, dtype=options.dtype)
                encode_tiles(slide, net=net, codes=tiles, options=options, change=stain, tell=tell)
                _write(folder, job, tiles.lost(), tiles.pieces(net.code))
        parts.finish()
    volume = open_volume(folder)
    if not volume.tissue.any():
        tell(events.Warned(text=f"{slide.name}: no tissue was found, so that the volume holds no code"))
    return volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One slide, its encoder and the cells to encode."""

    slide: Slide
    net: Encoder
    about: About
    cells: Cells
    options: CompressOptions
    stain: Normalised = Normalised()
    """What becomes of the pixels before the encoder sees them."""

    @property
    def key(self) -> str:
        """What must be equal for finished tiles to be taken over, as a SHA-256."""
        cells = self.cells
        settings = [PARTS_FORMAT, __version__, dict(self.about.question), self.net.precision, cells.side]
        return digest_of([*settings, hashlib.sha256(np.packbits(cells.asked).tobytes()).hexdigest()])


def about_slide(slide: Slide, net: Encoder, options: CompressOptions) -> About:
    """What the volume will say of itself; InputError where the encoder's resolution can't be reached."""
    asked_mpp = options.mpp_for(net)
    warnings = list(slide.warnings)
    finest = max(slide.mpp)
    is_made_up = finest > asked_mpp * (1 + GRID_WITHIN)
    if is_made_up:
        if not options.allow_upsampling:
            raise InputError(
                what=f"its finest pixels are {finest:g} µm, and the encoder {net.name} sees {asked_mpp:g} µm/px",
                where=str(slide.path or slide.name),
                mend=f"take an encoder for {finest:g} µm/px, show this one larger patches "
                f"(--patch {units.um(net.patch_px, finest):g}um), or invent the pixels (--allow-upsampling)",
            )
        warnings.append(f"pixels of {finest:g} µm were interpolated to {asked_mpp:g} µm for the encoder")
    if abs(asked_mpp / net.mpp - 1) > GRID_WITHIN:
        warnings.append(f"the encoder learnt at {net.mpp:g} µm/px and is shown {asked_mpp:g} µm/px, as asked")
    mpp = slide.grid_mpp(asked_mpp)
    width, height = slide.size
    sight = question_of_windows(net.model, options, options.stride_px(net, mpp))
    of_options = options.question(net, mpp, is_made_up=is_made_up)
    return About(
        slide=slide.name,
        width_level0=width,
        height_level0=height,
        mpp_level0=slide.mpp,
        mpp_source=slide.mpp_source,
        mpp=mpp,
        patch_um=units.um(options.patch_px(net, mpp), mpp),
        stride_um=units.um(options.stride_px(net, mpp), mpp),
        encoder=net.name,
        encoder_sha256=net.sha256,
        precision=net.precision,
        version=__version__,
        turns=options.turns,
        is_legacy=options.is_legacy,
        question={**question_of_slide(slide), "encoder": net.sha256, **of_options, **sight},
        warnings=tuple(warnings),
    )


def plan_cells(
    slide: Slide, net: Encoder, about: About, options: CompressOptions, seen: LowPower | None = None
) -> Cells:
    """The cells whose patch is tissue to a large enough share."""
    grid = about.grid
    shares = tissue_shares(slide, grid, asked=options.uses_mask, given=options.mask, seen=seen)
    asked = shares > options.least_share
    if options.is_legacy:
        rows, columns = grid.whole_cells
        asked[rows:], asked[:, columns:] = False, False
    return Cells(
        grid=grid,
        work=slide.frame.at(about.mpp),
        patch_px=options.patch_px(net, about.mpp),
        stride_px=options.stride_px(net, about.mpp),
        side=side_of_chunk(net.code, options.dtype),
        asked=asked,
    )


def whole_volume(folder: Path, about: About) -> Volume | None:
    """The finished volume in the folder, None where there is none; UsageError where it answers another question."""
    if not (folder / NAME).exists():
        return None
    volume = open_volume(folder)
    asked, made = about.question, volume.about.question
    other = [what for what in {**asked, **made} if asked.get(what) != made.get(what)]
    if other:
        encoder = f" (made by {volume.about.encoder})" if "encoder" in other else ""
        told = ["patch, stride or resolution" if what == "patches" else what for what in other]
        raise UsageError(
            what=f"holds the finished features of another {', '.join(told)}{encoder}",
            where=str(folder),
            mend=f"give another --out, or delete {NAME} in that folder",
        )
    if (folder / PARTS).exists():  # the run was stopped after its last line but one
        with suppress(MachineError), Parts(folder, key="", name=PARTS) as parts:
            parts.finish()
    return volume


def _write(folder: Path, job: Job, lost: np.ndarray, pieces: Iterator[Piece]) -> None:
    """The volume, from the pieces and the cells that could not be read (int64 [n, 2]); InputError where none could."""
    if len(lost) and len(lost) == np.count_nonzero(job.cells.asked):
        raise InputError(
            what=f"none of its {len(lost)} cells could be read",
            where=str(job.slide.path or job.slide.name),
            mend="copy it anew",
        )
    stain = [job.stain.warning] if job.stain.warning else []
    about = replace(job.about, warnings=(*job.about.warnings, *stain, *_told(lost)))
    write_volume(folder / NAME, about, pieces, code=job.net.code, dtype=job.options.dtype)


def codes_by_window(job: Job, parts: Parts, windows: tuple[int, int]) -> WindowCodes:
    """What is kept of the codes of a model's own encoder; `windows` are core and halo in pixels."""
    step, halo = windows
    dtype = "float16" if job.options.dtype == "float16" else "float32"
    tiling = Tiling(frame=job.cells.work, step=step, cell=min(CELL_PX, step))
    return WindowCodes(
        cell_px=job.cells.stride_px,
        windows=tiling,
        halo_px=halo,
        asked=job.cells.asked,
        parts=parts,
        encoder=job.net.name,
        dtype=dtype,
    )


def write_windows(folder: Path, job: Job, codes: WindowCodes) -> None:
    """The volume from what is kept of the windows; InputError where no cell could be read."""
    turns = TURNS if job.options.turns == "eight" else 1
    _write(folder, job, codes.lost(), codes.pieces(job.cells.side, job.net.code, turns))


def _stain(slide: Slide, options: CompressOptions) -> Normalised:
    if not options.normalise:
        return Normalised()
    seen = low_power(slide)
    tissue = read_mask(options.mask, slide) if options.mask else tissue_mask(slide, seen)
    return normalised(slide, tissue, seen, options.normalise)


def _told(lost: np.ndarray) -> tuple[str, ...]:
    """What the volume must say of the cells that could not be read."""
    if not len(lost):
        return ()
    named = "; ".join(f"row {row}, column {column}" for row, column in lost[:CELLS_TOLD])
    more = f" and {len(lost) - CELLS_TOLD} more" if len(lost) > CELLS_TOLD else ""
    return (f"{len(lost)} cells could not be read, and hold no code: {named}{more}",)
