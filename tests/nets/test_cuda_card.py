"""What only a card can show: the same maps and objects as the processor's, as graphs, in lanes, near its memory's end.

python -m pytest -m gpu
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from geryon.nets.catalogue import find_model
from geryon.nets.engines import cuda
from geryon.nets.engines.cuda import CudaEngine, open_cuda
from geryon.nets.engines.torch_ import TorchEngine
from geryon.nets.model import Model, heads_of, load_model
from geryon.nets.network import BytesNetwork, bytes_network
from geryon.nets.weights import read_document, read_tensors
from geryon.slides.synthetic import SyntheticSlide
from geryon.tasks.decoding import labels_of
from geryon.tasks.metrics import tally

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

SIDE = 320
DOCUMENT = read_document(find_model("geryon-s"))


def network(dtype: torch.dtype = torch.float32) -> BytesNetwork:
    heads = heads_of(DOCUMENT.task_values(), DOCUMENT.mpp)
    return bytes_network(DOCUMENT, read_tensors(find_model("geryon-s")), heads, dtype)


def on_card(dtype: torch.dtype, *, graphs: bool = True, batch: int = 2) -> CudaEngine:
    device = torch.device("cuda:0")
    capture = cuda.captured if graphs else None
    moved = cuda.on_card(network(dtype), device)
    return CudaEngine(moved, device, sizes=[(SIDE, SIDE)], batch=batch, capture=capture)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    slide = SyntheticSlide(width_um=320, height_um=320, seed=3)
    picture = slide.render(slide.frame.box)
    return [np.ascontiguousarray(picture[y : y + SIDE, x : x + SIDE]) for y in (0, 320) for x in (0, 320)]


@pytest.fixture(scope="module")
def exact(images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The processor's float32 maps."""
    return TorchEngine(name="cpu", lanes=1, batch=1, precision="float32", network=network()).maps(images, [])


def differences(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([np.abs(a[name].astype(int) - b[name]) for a, b in zip(one, other, strict=True)])
        for name in one[0]
    }


def test_float32_maps_are_the_processors(images, exact) -> None:
    with torch.backends.cudnn.flags(allow_tf32=False):
        found = differences(on_card(torch.float32).maps(images, []), exact)
    assert max(int(d.max()) for d in found.values()) <= 2


@pytest.mark.parametrize(("dtype", "mean", "most"), [(torch.float16, 0.3, 12), (torch.bfloat16, 2.0, 64)])
def test_short_types_differ_as_their_rounding_does(dtype: torch.dtype, mean: float, most: int, images, exact) -> None:
    """Twice what the processor's own float16 and bfloat16 are off by, in the worst map (docs/gpu.md)."""
    found = differences(on_card(dtype).maps(images, []), exact)
    assert max(float(d.mean()) for d in found.values()) <= mean
    assert max(int(d.max()) for d in found.values()) <= most


def test_a_graph_says_what_single_kernels_say(images) -> None:
    graphs, eager = on_card(torch.bfloat16), on_card(torch.bfloat16, graphs=False)
    one, other = graphs.maps(images, []), eager.maps(images, [])
    assert graphs.precision == f"bfloat16 on {torch.cuda.get_device_name()}, graphs" and len(graphs._replays) == 1
    assert all((d == 0).all() for d in differences(one, other).values())


def test_a_window_does_not_see_its_neighbours(images) -> None:
    own = on_card(torch.bfloat16, batch=4)
    together, alone = own.maps(images, []), [own.maps([image], [])[0] for image in images]
    assert all((d == 0).all() for d in differences(together, alone).values())


def test_lanes_at_once_give_what_one_gives(images) -> None:
    own = on_card(torch.bfloat16)
    border = [np.ascontiguousarray(image[:, :192]) for image in images]
    whole, cut = own.maps(images, []), own.maps(border, [])
    with ThreadPoolExecutor(2 * cuda.LANES) as pool:
        for i, found in enumerate(pool.map(lambda i: own.maps(border if i % 2 else images, []), range(40))):
            assert all((d == 0).all() for d in differences(found, cut if i % 2 else whole).values())


def test_what_travels_is_pinned() -> None:
    slot = cuda.Slot(torch.device("cuda:0"))
    assert slot.host("images", (4, 32, 32, 3)).is_pinned()
    assert slot.there("images", (4, 32, 32, 3)).is_cuda


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one card here")
def test_the_second_card_answers_alone(images, exact) -> None:
    device = torch.device("cuda:1")
    own = CudaEngine(cuda.on_card(network(torch.float16), device), device, sizes=[(SIDE, SIDE)], batch=2)
    assert own._compute.device == device
    assert all(d.max() <= 12 for d in differences(own.maps(images, []), exact).values())


def test_a_full_card_halves_the_batch(images, exact) -> None:
    own = on_card(torch.float16, batch=8)
    room = cuda.needs(own.network, (SIDE, SIDE), own.device)[0]
    total = torch.cuda.get_device_properties(own.device).total_memory
    taken = torch.cuda.memory_reserved(own.device)
    torch.cuda.set_per_process_memory_fraction((taken + 4 * room) / total, own.device)
    try:
        found = own.maps(images, [])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, own.device)
    assert own.batch < 8
    assert all(d.max() <= 12 for d in differences(found, exact).values())


def test_opened_by_name_it_has_a_batch_and_graphs() -> None:
    heads = heads_of(DOCUMENT.task_values(), DOCUMENT.mpp)
    own = open_cuda(DOCUMENT, read_tensors(find_model("geryon-s")), heads)
    assert 1 <= own.batch <= cuda.MOST_BATCH and own.precision.endswith("graphs")


def test_objects_are_as_good_as_the_processors() -> None:
    slide = SyntheticSlide(width_um=500, height_um=500, seed=5)
    picture = slide.render(slide.frame.box)
    truth = slide.truth("nuclei", slide.frame.box, 0.5).objects
    card = load_model("geryon-s", engine="cuda", tasks="nuclei")
    plain = TorchEngine(name="cpu", lanes=1, batch=1, precision="float32", network=network())
    pq = []
    for engine in (card.engine, plain):
        nuclei = tuple(task for task in DOCUMENT.task_values() if task.name == "nuclei")
        model = Model(document=DOCUMENT, sha256="", tasks=nuclei, engine=engine)
        found = model.predict(picture, 0.5).objects["nuclei"]
        pq.append(tally(labels_of(found, (truth.shape[0], truth.shape[1])), truth).scores()["pq"])
    assert pq[1] > 0.1 and abs(pq[0] - pq[1]) <= 0.005
