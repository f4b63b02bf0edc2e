"""One image in memory: what is refused, on which grid it is read, in how many threads it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geryon.errors import GeryonError, InputError, UsageError
from geryon.nets.engines.torch_ import TorchEngine
from geryon.nets.image import at_model_mpp
from geryon.nets.model import Model
from geryon.nets.network import BytesNetwork
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.slides.array import slide_of_image
from geryon.space.boxes import Frame
from geryon.tasks.task import Map, Task, get_task

DOCUMENT = ModelDocument(
    name="none",
    version="1",
    topology="geryon-s",
    tasks=(TaskDocument(name="lumina"),),
    windows={"default": {"window_px": 64, "halo_px": 16}},
)
LUMINA = get_task("lumina")
STRIDE = round(LUMINA.mpp / DOCUMENT.mpp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty:
    """An engine that finds nothing; `meet` is called in each call."""

    name: str = "empty"
    lanes: int = 2
    batch: int = 1
    precision: str = "exact"
    meet: Any = None

    def maps(self, images: Any, places: Any) -> Any:
        if self.meet:
            self.meet()
        shapes = [(i.shape[0] // STRIDE, i.shape[1] // STRIDE) for i in images]
        return [{f"lumina/{m.name}": np.zeros((*s, m.channels), np.uint8) for m in LUMINA.maps} for s in shapes]


def model(engine: Any) -> Model:
    return Model(document=DOCUMENT, sha256="", tasks=(LUMINA,), engine=engine)


WHITE = np.full((128, 128, 3), 255, np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        WHITE / 255,
        WHITE[..., 0],
        np.concatenate([WHITE, WHITE[..., :1]], 2),
        WHITE[:0],
        WHITE.astype(np.int64),
        "a.png",
    ],
    ids=["float", "grey", "rgba", "empty", "int64", "path"],
)
def test_what_is_no_image_is_refused_in_a_sentence(image: Any) -> None:
    with pytest.raises(InputError, match=r"an image is RGB, uint8 \[y, x, 3\]"):
        model(Empty()).predict(image, 0.5)


@pytest.mark.parametrize("mpp", [0, -1, 0.01, 100, float("nan"), float("inf"), "0.5", None, True])
def test_an_impossible_resolution_is_refused(mpp: Any) -> None:
    with pytest.raises(UsageError, match="is no µm per pixel of a slide"):
        model(Empty()).predict(WHITE, mpp)


def test_an_image_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(InputError, match="more than is held in memory"):
        model(Empty()).predict(np.broadcast_to(np.uint8(255), (1000, 1000, 3)), 20.0)


@pytest.mark.parametrize("side", [1, 7])
def test_a_speck_is_refused_as_a_slide_of_its_size_is(side: int) -> None:
    with pytest.raises(GeryonError, match="too small"):
        model(Empty()).predict(WHITE[:side, :side], 0.5)


@pytest.mark.parametrize("mpp", [0.23, 0.25, 0.46, 0.5, 0.54, 0.7, 1.0])
def test_images_and_slides_are_read_on_the_same_grid(mpp: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 121, 3)).astype(np.uint8)
    level0 = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=121, height=90)
    work, scaled = at_model_mpp(image, level0, 0.5)
    slide = slide_of_image(image, mpp=mpp)
    assert work.mpp_x == slide.grid_mpp(0.5)
    assert scaled.shape[:2] == (np.ceil(work.height - 1e-6), np.ceil(work.width - 1e-6))
    if mpp in (0.46, 0.54):
        assert scaled is image, "within 10 % nothing is resampled"


def test_windows_go_over_all_lanes_at_once() -> None:
    together = threading.Barrier(2, timeout=20)
    model(Empty(meet=together.wait)).predict(WHITE, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifying:
    """An engine that is sure of one class everywhere and of no object; it counts the images that it sees."""

    name: str = "classifying"
    lanes: int = 1
    batch: int = 1
    precision: str = "exact"
    seen: list[int] = field(default_factory=list)

    def maps(self, images: Any, places: Any) -> Any:
        self.seen.append(len(images))
        return [{f"{t.name}/{m.name}": self.plane(i.shape, t, m) for t in OBJECTS for m in t.maps} for i in images]

    def plane(self, shape: tuple[int, ...], task: Task, own: Map) -> np.ndarray:
        stride = round(task.mpp * own.coarse / DOCUMENT.mpp)
        plane = np.zeros((shape[0] // stride, shape[1] // stride, own.channels), np.uint8)
        if own.name == "class":
            plane[..., 1] = 255
        return plane


OBJECTS = (get_task("nuclei"), get_task("glands"), LUMINA)


def test_class_maps_are_kept_if_asked_and_the_network_runs_no_more_for_them() -> None:
    engine, image = Classifying(), np.full((150, 90, 3), 255, np.uint8)
    asked = Model(document=DOCUMENT, sha256="", tasks=OBJECTS, engine=engine)
    plain, runs = asked.predict(image, 0.25), len(engine.seen)
    assert plain.class_maps == {}
    kept = asked.predict_with_class_maps(image, 0.25)
    assert len(engine.seen) == 2 * runs
    assert kept.objects.keys() == plain.objects.keys() == {"nuclei", "glands", "lumina"}
    nuclei, glands = kept.class_maps["nuclei"], kept.class_maps["glands"]
    assert kept.class_maps.keys() == {"nuclei", "glands"}
    assert nuclei.p.shape == (38, 23, 7) and nuclei.cell_px == 4.0, "37.5 x 22.5 µm in cells of 1 µm"
    assert glands.p.shape == (19, 12, 2) and glands.cell_px == 8.0
    assert (nuclei.p[..., 1] == 255).all() and (glands.p[..., 1] == 255).all(), "to the very border"


def test_torch_threads_stay_as_they_were_found() -> None:
    seen: list[int] = []

    class Seeing(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(torch.get_num_threads())
            return {"lumina/inside": x[:, :1, ::STRIDE, ::STRIDE]}

    head = Head(name="lumina/inside", channels=1, stride=STRIDE)
    engine = TorchEngine(
        name="cpu",
        lanes=3,
        batch=1,
        precision="float32",
        network=BytesNetwork(Seeing(), [head], {head.name: "sigmoid"}),
        device=torch.device("cpu"),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        model(engine).mosaic(WHITE, Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=128, height=128))
        engine.maps([WHITE], [])
        assert seen and set(seen) == {1}
        assert torch.get_num_threads() == 3
        fresh: list[int] = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [3]
    finally:
        torch.set_num_threads(before)


def test_opening_a_model_leaves_torchs_threads_alone() -> None:
    from geryon.nets.model import load_model

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        load_model("geryon-s", engine="cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
