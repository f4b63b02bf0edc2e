"""Features of a slide from the pass that finds its objects, or added to a finished run by the encoder alone."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from geryon import events
from geryon.flows.compress import Job, about_slide, compress_slide, plan_cells, whole_volume
from geryon.flows.compress_options import CompressOptions
from geryon.flows.finish import FEATURES
from geryon.flows.work import Work
from geryon.nets.encoder import Encoder, encoder_of, load_encoder
from geryon.nets.model import Model
from geryon.slides.reader import GRID_WITHIN, Slide
from geryon.slides.tissue import LowPower
from geryon.store.features import NAME
from geryon.store.parts import Parts
from geryon.store.run import RunRecord, read_run, write_run


def features_job(work: Work, options: CompressOptions, seen: LowPower) -> Job | None:
    """What to encode beside the objects; None where the volume is there, UsageError where it is another one."""
    slide, net, options = work.slide, encoder_of(work.net), _for(work.slide, work.net, options)
    about = about_slide(slide, net, options)
    if whole_volume(work.folder, about):
        return None
    cells = plan_cells(slide, net, about, options, seen)
    return Job(slide=slide, net=net, about=about, cells=cells, options=options, stain=work.stain)


def add_features(slide: Slide, net: Model, record: RunRecord, options: CompressOptions, tell: events.Tell) -> RunRecord:
    """The record of a finished run with its features, which the encoder alone makes where they are missing.

    The same volume as that of a run that was asked for it; UsageError where another one is there.
    """
    folder, began = record.folder, perf_counter()
    assert folder is not None, "it was read from its folder"
    options = _for(slide, net, options)
    if not whole_volume(folder, about_slide(slide, encoder_of(net), options)):
        compress_slide(slide, _alone(net, options), folder, options=options, tell=tell)
    if FEATURES in record.files:
        return record
    with Parts(folder, key="features of a finished run") as parts:
        record = read_run(folder)  # another process may have written it before this one was alone
        seconds = {**record.seconds, "features": perf_counter() - began}
        record = write_run(folder, replace(record, files={**record.files, FEATURES: NAME}, seconds=seconds))
        parts.finish()
    return record


def _alone(net: Model, options: CompressOptions) -> Encoder:
    """The model's encoder without what comes after it: a quarter of the work."""
    return load_encoder(net.path, engine=options.engine) if net.path else encoder_of(net)


def _for(slide: Slide, net: Model, options: CompressOptions) -> CompressOptions:
    """Objects are looked for on a slide of any resolution, so its features are not refused either."""
    return replace(options, allow_upsampling=max(slide.mpp) > net.mpp * (1 + GRID_WITHIN))
