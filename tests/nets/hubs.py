"""A hub for tests: a client that hands out files of a folder, and a server that speaks its HTTP."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from geryon import plugins
from geryon.nets.model import heads_of
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, SourceDocument, save_model, task_document
from geryon.tasks.task import get_task

SETTINGS = {"fine": [4, 6], "decoder": [4, 4, 4, 4, 4]}


@cache
def small_tensors() -> dict[str, np.ndarray]:
    """Weights of a geryon-b of few channels that finds nuclei."""
    torch.manual_seed(1)
    heads = heads_of((get_task("nuclei"),), 0.5)
    network = plugins.look_up(TOPOLOGIES, "geryon.topologies", "geryon-b")(SETTINGS, heads)
    return {key: value.numpy() for key, value in network.state_dict().items()}


def small_model(path: Path, *, name: str = "lab", use: str = "open") -> str:
    """Write such a model; returns the file's SHA-256."""
    document = ModelDocument(
        name=name,
        version="7",
        topology="geryon-b",
        settings=SETTINGS,
        tasks=(task_document(get_task("nuclei")),),
        sources=(SourceDocument(name="slides", licence="CC0", use=use),),
        use=use,
    )
    return save_model(path, small_tensors(), document)


class Client:
    """In place of the module huggingface_hub: answers from a folder, or fails as it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.calls, self.fails = folder, [], None
        module = ModuleType("huggingface_hub")
        module.hf_hub_download = self.download  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)

    calls: list[tuple[str, str, str]]
    fails: BaseException | None
    """Raised when half of the file has arrived."""

    def download(self, repository: str, file: str, *, revision: str, local_dir: Path) -> str:
        self.calls.append((repository, file, revision))
        target = Path(local_dir) / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.fails is not None:
            given = (self.folder / file).read_bytes()
            target.write_bytes(given[: len(given) // 2])
            raise self.fails
        return str(shutil.copyfile(self.folder / file, target))


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Address and paths asked of a server that gives FOLDER/FILE at /OWNER/NAME/resolve/REVISION/FILE."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            asked.append(f"{self.command} {self.path}")
            path = folder / self.path.rpartition("/")[2]
            if "/resolve/" not in self.path or not path.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
