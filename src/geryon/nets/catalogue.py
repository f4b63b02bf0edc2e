"""Which models there are by name, and where the file of each lies: in the package, in a folder, on a hub."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

from geryon.errors import InputError, UsageError
from geryon.nets import hub

FOLDERS = "GERYON_MODELS"
"""The variable that names folders of models, separated as in PATH."""
RELEASED: dict[str, hub.HubFile] = {}
"""Models of ours that are too large for the package, {name: its file and sum}; none is released so far."""


def find_model(name: str | Path) -> Path:
    """The file of a model: a path, a place on a hub (nets/hub.py), or a name.

    A name is that of a shipped model, else of a file in a folder of GERYON_MODELS, else of a released model, which is
    fetched. So a shipped name means the same everywhere, and a released one needs no network where a copy is at hand.
    """
    text, path = str(name), Path(name)
    if text.startswith(hub.BEGINNING):
        return hub.fetched(hub.place_of(text))
    if text in shipped_models():
        return Path(str(resources.files("geryon") / "weights" / f"{text}.safetensors"))
    if path.suffix == ".safetensors" or path.is_file():
        if not path.is_file():
            raise InputError(what="there is no such model file", where=str(path), mend="check the path")
        return path
    if own := own_models().get(text):
        return own
    if text in RELEASED:
        return hub.fetched(RELEASED[text])
    absent = [str(folder) for folder in folders() if not folder.is_dir()]
    raise UsageError(
        what=f"no model is called {text!r}" + (f" ({FOLDERS} names no folder: {', '.join(absent)})" if absent else ""),
        mend=f"choose one of {', '.join(known_models()) or '(none is shipped)'}, give a .safetensors file or a place "
        f"hub:OWNER/NAME/FILE.safetensors, or put {text}.safetensors into a folder that {FOLDERS} names",
    )


def names_model(text: str) -> bool:
    """True for what `find_model` would take as a model without looking for a file of that name."""
    return text.startswith(hub.BEGINNING) or text.endswith(".safetensors") or text in known_models()


def known_models() -> list[str]:
    """Every name of a model, sorted."""
    return sorted({*shipped_models(), *own_models(), *RELEASED})


def shipped_models() -> list[str]:
    """Names of the models inside the package."""
    folder = resources.files("geryon") / "weights"
    if not folder.is_dir():
        return []
    return sorted(
        entry.name.removesuffix(".safetensors") for entry in folder.iterdir() if entry.name.endswith(".safetensors")
    )


def own_models() -> dict[str, Path]:
    """{name: file} of the models in the folders of GERYON_MODELS; of one name the first."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return found


def folders() -> list[Path]:
    """The folders that GERYON_MODELS names, there or not."""
    return [Path(text).expanduser() for text in os.environ.get(FOLDERS, "").split(os.pathsep) if text]
