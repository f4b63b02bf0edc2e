"""pt: a float32 tensor [n, code], all that many readers of bags load; its rows are those of h5 and features.zarr."""

from __future__ import annotations

from pathlib import Path

from geryon.atomic import whole_file_of
from geryon.store.bags.layout import Layout
from geryon.store.features import Volume


def _write(volume: Volume, folder: Path) -> list[Path]:
    import torch

    path = folder / f"{volume.about.slide}.pt"
    codes, _ = volume.bag()
    with whole_file_of(path) as file:
        torch.save(torch.from_numpy(codes), file)
    return [path]


FORMAT = Layout(write=_write)
