"""What the encoder sees, beside the maps and alone: the same in every engine, and means over a slide's own cells."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from geryon.errors import UsageError
from geryon.nets.cells import CODE_PX, codes_of
from geryon.nets.engine import Engine, open_engine
from geryon.nets.engines.cuda import CudaEngine
from geryon.nets.model import cut, load_model
from geryon.nets.network import bytes_network
from geryon.nets.topologies import FEATURES, Head
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.space.boxes import Box, Frame
from geryon.space.windows import Tiling
from tests.nets.test_engines import HEADS, NETS, PLACE, images, model

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the package openvino is not installed")
CUDAS = "cuda's on the processor"
WAYS = [(name, net) for name in ("cpu", CUDAS) for net in NETS]
GRAPH = pytest.param("openvino-float32", "geryon-s", marks=needs_openvino)  # a graph takes seconds to make
MAPS = HEADS[-1:]
CODE = 152


@pytest.fixture(autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache folder for all tests of a process: a graph takes seconds to make."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "graphs"))


def opened(name: str, net: str, heads: tuple[Head, ...]) -> Engine:
    document, tensors = model(net)
    if name == CUDAS:
        network = bytes_network(document, tensors, heads)
        return CudaEngine(network, torch.device("cpu"), sizes=[(128, 128)], batch=2, capture=None)
    return open_engine(name, document, tensors, heads)


@pytest.mark.parametrize(("name", "net"), [*WAYS, GRAPH])
def test_features_are_the_same_beside_the_maps_and_alone_and_change_no_map(name: str, net: str) -> None:
    asked = images(2, 128, 128)
    [beside, second], [alone, _], [maps, _] = (
        opened(name, net, heads).maps(asked, [PLACE] * 2) for heads in ((*MAPS, FEATURES), (FEATURES,), MAPS)
    )
    features = beside.pop("features")
    assert features.dtype == np.float32 and features.shape[:2] == (4, 4)
    assert not np.array_equal(features, second["features"]), "each image has its own"
    assert list(alone) == ["features"] and np.array_equal(alone["features"], features)
    assert list(maps) == list(beside) and all(np.array_equal(maps[name], beside[name]) for name in maps)
    [reference] = opened("cpu", net, (FEATURES,)).maps(asked[:1], [PLACE])
    assert np.allclose(features, reference["features"], atol=1e-4 * np.abs(features).max())


@needs_openvino
def test_eight_bits_leave_the_shipped_models_features_as_they_are() -> None:
    """They come from the context branch, which stays in float; docs say a cosine of at least 0.999."""
    image = images(1, 256, 256)
    [fast], [plain] = (
        load_model("geryon-s", engine=name, features=True, tasks="tissue").maps(image, [PLACE])
        for name in ("openvino", "cpu")
    )
    a, b = fast["features"], plain["features"]
    assert a.shape == (8, 8, CODE)
    assert cosines(a, b).min() >= 0.999


def test_a_network_without_features_says_so() -> None:
    document = ModelDocument(name="theirs", version="1", topology="cerberus", tasks=(TaskDocument(name="lumina"),))
    with pytest.raises(UsageError, match="theirs.*gives no features"):
        open_engine("auto", document, {}, (FEATURES,))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    cosine: np.ndarray = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return cosine


def planted(frame: Frame) -> np.ndarray:
    """Features of the whole frame, a value of its own for each square of 32 px."""
    rows, columns = (-(-int(side) // FEATURES.stride) for side in (frame.height, frame.width))
    return np.random.default_rng(0).normal(size=(rows, columns, 2)).astype(np.float32)


@pytest.mark.parametrize("step", [256, 1024])
def test_cells_are_means_of_what_lies_inside_the_slide_whatever_the_windows(step: int) -> None:
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=1500.0, height=1041.5)
    seen = planted(frame)
    tiling = Tiling(frame=frame, step=step, cell=64)
    per_pixel = np.kron(seen, np.ones((32, 32, 1), np.float32)).astype(np.float64)
    tried = 0
    for row in range(tiling.rows):
        for column in range(tiling.columns):
            window = tiling.window(row, column, 96)
            x, y = round(window.outer.xmin), round(window.outer.ymin)
            rows, columns = window.outer.shape
            at = cut(np.pad(per_pixel, ((0, 64), (0, 64), (0, 0))), Box(frame, x, y, x + columns, y + rows))
            codes = codes_of(at[::32, ::32].astype(np.float32), window)
            for i, j in np.ndindex(codes.shape[:2]):
                top, left = round(window.core.ymin) + i * CODE_PX, round(window.core.xmin) + j * CODE_PX
                part = per_pixel[top : min(top + CODE_PX, 1041), left : min(left + CODE_PX, 1500)]
                # the last half row of pixels counts half
                half = per_pixel[1041:1042, left : min(left + CODE_PX, 1500)] if top + CODE_PX > 1041 else part[:0]
                total = part.sum((0, 1)) + 0.5 * half.sum((0, 1))
                assert codes[i, j] == pytest.approx(total / (part[..., 0].size + 0.5 * half[..., 0].size), rel=1e-4)
                tried += 1
    assert tried == 9 * 12


def test_a_slides_codes_hardly_depend_on_the_windows() -> None:
    """A halo of 96 px leaves out a little of what the deepest layers see: the tolerance that docs/compress.md tells."""
    net = load_model("geryon-s", engine="cpu", tasks=(), features=True)
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=512.0, height=512.0)
    [image] = images(1, 512, 512)
    found = []
    for step in (256, 512):
        tiling = Tiling(frame=frame, step=step, cell=64)
        plane = np.zeros((4, 4, CODE), np.float32)
        for row, column in np.ndindex(tiling.rows, tiling.columns):
            window = tiling.window(row, column, 96)
            [maps] = net.maps([cut(image, window.outer)], [window.outer])
            across = step // CODE_PX
            plane[row * across : (row + 1) * across, column * across : (column + 1) * across] = codes_of(
                maps["features"], window
            )
        found.append(plane)
    assert cosines(*found).min() > 0.99
