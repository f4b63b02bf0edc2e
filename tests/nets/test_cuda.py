"""The CUDA engine but for its last layer: the same code on the processor, where streams and events do nothing."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geryon.errors import MachineError, UsageError
from geryon.nets import engine as engines
from geryon.nets.engines import cuda
from geryon.nets.engines.cuda import CudaEngine
from geryon.nets.network import BytesNetwork
from geryon.nets.topologies import Head
from geryon.nets.weights import ModelDocument, TaskDocument

CPU = torch.device("cpu")
WHOLE = (32, 32)
HEADS = (Head(name="a/red", channels=1, stride=1), Head(name="b/green", channels=1, stride=2))
DOCUMENT = ModelDocument(name="none", version="1", topology="geryon-s", tasks=(TaskDocument(name="lumina"),))


class Means(nn.Module):
    """Red as it is, and the mean of four pixels' green; it notes how many images of what size come at once."""

    def __init__(self, most: int = 99) -> None:
        super().__init__()
        self.most = most
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.seen.append((len(x), *x.shape[2:]))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"a/red": x[:, :1] / 255, "b/green": nn.functional.avg_pool2d(x[:, 1:2], 2) / 255}


def engine(network: nn.Module, *, batch: int = 4, capture: Any = None) -> CudaEngine:
    bytes_network = BytesNetwork(network, HEADS, dict.fromkeys(("a/red", "b/green"), "identity"))
    return CudaEngine(bytes_network, CPU, sizes=[WHOLE], batch=batch, capture=capture)


def images(count: int, size: tuple[int, int] = WHOLE, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8))


def assert_right(found: list[dict[str, np.ndarray]], asked: list[np.ndarray]) -> None:
    assert len(found) == len(asked)
    for maps, image in zip(found, asked, strict=True):
        assert np.array_equal(maps["a/red"], image[..., :1])
        green = image[..., 1].astype(float)
        means = (green[::2, ::2] + green[1::2, ::2] + green[::2, 1::2] + green[1::2, 1::2]) / 4
        assert np.abs(maps["b/green"][..., 0] - means).max() <= 0.51


def test_whole_windows_go_in_filled_batches_and_others_one_by_one() -> None:
    network = Means()
    own = engine(network)
    for asked in (images(6), images(3, (32, 48))):
        assert_right(own.maps(asked, []), asked)
    assert network.seen == [(4, 32, 32), (4, 32, 32), (1, 32, 48), (1, 32, 48), (1, 32, 48)]


def test_the_maps_belong_to_the_caller() -> None:
    own = engine(Means())
    first, second = images(2, seed=1), images(2, seed=2)
    found = [own.maps(first, []) for _ in range(cuda.LANES)]
    for _ in range(cuda.LANES):  # through the same buffers
        own.maps(second, [])
    for each in found:
        assert_right(each, first)


def test_a_real_network_answers_as_on_the_processor() -> None:
    from geryon.nets.catalogue import find_model
    from geryon.nets.engines.torch_ import TorchEngine
    from geryon.nets.model import heads_of
    from geryon.nets.network import bytes_network
    from geryon.nets.weights import read_document, read_tensors

    path = find_model("geryon-s")
    document = read_document(path)
    network = bytes_network(document, read_tensors(path), heads_of(document.task_values(), document.mpp))
    plain = TorchEngine(name="cpu", lanes=1, batch=1, precision="float32", network=network)
    own = CudaEngine(cuda.on_card(network, CPU), CPU, sizes=[(64, 64)], batch=2, capture=None)
    asked = images(3, (64, 64))
    for one, other in zip(own.maps(asked, []), plain.maps(asked, []), strict=True):
        assert one.keys() == other.keys()
        for name, plane in other.items():
            assert one[name].shape == plane.shape
            assert np.abs(one[name].astype(int) - plane).max() <= 1, "rounding only"


def test_many_threads_get_their_own_answers() -> None:
    own = engine(Means())
    batches = [images(1 + seed % 4, seed=seed) for seed in range(40)]
    with ThreadPoolExecutor(2 * cuda.LANES) as pool:
        for found, asked in zip(pool.map(lambda b: own.maps(b, []), batches), batches, strict=True):
            assert_right(found, asked)


def test_a_full_card_halves_the_batch_for_good() -> None:
    network = Means(most=2)
    own = engine(network, batch=8)
    asked = images(5)
    assert_right(own.maps(asked, []), asked)
    assert [n for n, *_ in network.seen] == [8, 4, 2, 2, 2]
    assert own.batch == 2
    own.maps(asked, [])
    assert [n for n, *_ in network.seen[5:]] == [2, 2, 2]


def test_a_card_without_room_for_one_window_is_told() -> None:
    with pytest.raises(MachineError, match="no room for a single window"):
        engine(Means(most=0)).maps(images(1), [])


def test_a_retreat_leaves_what_a_run_is_known_by() -> None:
    """Finished tiles of an interrupted run are taken over though other programs held the card then."""
    full, free = engine(Means(most=2), batch=8), engine(Means(), batch=8)
    for own in (full, free):
        own.maps(images(3), [])
    assert (full.batch, free.batch) == (2, 8) and full.precision == free.precision


def test_threads_that_fail_together_halve_once() -> None:
    own = engine(Means(), batch=8)
    error = torch.OutOfMemoryError("CUDA out of memory")
    own._retreat(8, error)
    own._retreat(8, error)
    assert own.batch == 4


class Captures:
    """Stands for CUDA's capture: its own input and output, one network call a capture, none a replay."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.shapes: list[tuple[int, ...]] = []
        self.replays = 0

    def __call__(self, network: BytesNetwork, given: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
        self.shapes.append(tuple(given.shape))
        if self.fault:
            raise self.fault
        own = tuple(torch.empty_like(value) for value in network(given))

        def replay(images: Tensor) -> tuple[Tensor, ...]:
            self.replays += 1
            for held, value in zip(own, network(images), strict=True):
                held.copy_(value)
            return own

        return replay


def test_a_whole_window_is_captured_once_and_replayed() -> None:
    capture = Captures()
    own = engine(Means(), capture=capture)
    for seed in range(3):
        for asked in (images(2, seed=seed), images(1, (32, 48), seed=seed)):
            assert_right(own.maps(asked, []), asked)
    assert capture.shapes == [(4, 32, 32, 3)] and capture.replays == 3
    assert own.precision == "float32, graphs"


def test_few_graphs_are_kept() -> None:
    capture = Captures()
    sizes = [(32, 32 + 16 * i) for i in range(cuda.MOST_GRAPHS + 2)]
    network = BytesNetwork(Means(), HEADS, dict.fromkeys(("a/red", "b/green"), "identity"))
    own = CudaEngine(network, CPU, sizes=sizes, batch=2, capture=capture)
    for size in sizes:
        asked = images(2, size)
        assert_right(own.maps(asked, []), asked)
    assert len(capture.shapes) == cuda.MOST_GRAPHS


def test_where_capture_fails_kernels_run_one_by_one_and_it_is_said_once() -> None:
    capture = Captures(RuntimeError("operation not permitted when stream is capturing\nmore"))
    own = engine(Means(), capture=capture)
    asked = images(2)
    with pytest.warns(UserWarning, match="not permitted when stream is capturing$"):
        assert_right(own.maps(asked, []), asked)
    assert_right(own.maps(asked, []), asked)
    assert len(capture.shapes) == 1 and own.precision == "float32, eager"


def test_a_card_that_fills_up_in_a_capture_keeps_graphs_for_the_smaller_batch() -> None:
    capture = Captures()
    own = engine(Means(most=2), batch=4, capture=capture)
    asked = images(3)
    assert_right(own.maps(asked, []), asked)
    assert capture.shapes == [(4, 32, 32, 3), (2, 32, 32, 3)] and own.batch == 2


def test_a_capture_that_ends_for_want_of_memory_is_a_full_card() -> None:
    """The capture's own end fails then too, and hides the reason."""
    capture = Captures(RuntimeError("operation failed due to a previous error during capture"))
    assert capture.fault
    capture.fault.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(MachineError, match="no room for a single window"):
        engine(Means(), capture=capture).maps(images(1), [])
    assert [n for n, *_ in capture.shapes] == [4, 2, 1]


@pytest.mark.parametrize(
    ("card_gib", "window_gib", "batch"),
    [(140, 0.5, 8), (22, 0.5, 8), (7.2, 0.5, 8), (7.2, 1.0, 4), (3, 0.5, 2), (1, 0.5, 1), (0.2, 0.5, 1)],
)
def test_the_batch_follows_the_cards_memory(card_gib: float, window_gib: float, batch: int) -> None:
    assert cuda.batch_that_fits(int(card_gib * 2**30), int(window_gib * 2**30), 10 * 2**20) == batch


def test_a_batch_that_was_chosen_fits() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        memory, of_one, travelling = (int(rng.uniform(*r)) for r in ((2e9, 2e11), (1e8, 4e9), (1e6, 1e8)))
        batch = cuda.batch_that_fits(memory, of_one, travelling)
        assert batch == 1 or (batch + 1) * of_one + batch * cuda.LANES * travelling <= cuda.SHARE_OF_MEMORY * memory


def test_the_models_windows_are_the_sizes_that_go_in_batches() -> None:
    document = ModelDocument(
        name="none", version="1", topology="geryon-s", tasks=(TaskDocument(name="lumina"),), windows={}
    )
    assert cuda.window_sizes(document) == {(1216, 1216)}
    published = {"default": {"window_px": 1008, "halo_px": 152}, "published": {"window_px": 144, "halo_px": 152}}
    named = ModelDocument(name="none", version="1", topology="cerberus", tasks=document.tasks, windows=published)
    assert cuda.window_sizes(named) == {(1312, 1312), (448, 448)}


def test_cards_are_counted_and_a_wrong_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert engines.side_by_side("cuda") == engines.side_by_side("auto") == ("cuda:0", "cuda:1")
    assert engines.side_by_side("cuda:1") == ("cuda:1",)
    assert cuda._device("") == torch.device("cuda:0") and cuda._device("1") == torch.device("cuda:1")
    with pytest.raises(UsageError, match="there is no card cuda:2; choose one of: cuda:0, cuda:1"):
        cuda._device("2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert engines.side_by_side("auto") == ("auto",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_without_a_card_it_is_said(name: str) -> None:
    with pytest.raises(UsageError, match="no CUDA card can be used here"):
        engines.open_engine(name, DOCUMENT, {}, ())


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A card that is found, and a network that is made without weights."""
    monkeypatch.setattr(engines, "has_cuda_driver", lambda: True)
    monkeypatch.setattr(cuda, "_device", lambda card: CPU)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(cuda, "bytes_network", lambda *args: BytesNetwork(Means(), (), {}))
    return monkeypatch


def raising(message: str, kind: type[RuntimeError] = RuntimeError) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise kind(message)

    return fail


def the_next(*args: Any) -> str:
    return "the next engine"


@pytest.mark.parametrize("step", ["get_device_capability", "on_card", "needs"])
def test_a_card_that_cannot_run_is_refused_with_the_reason_and_auto_goes_on(step: str, a_card: Any) -> None:
    message = "CUDA error: no kernel image is available for execution on the device\nCompile with TORCH_USE_CUDA_DSA"
    a_card.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    a_card.setattr(torch.cuda if step == "get_device_capability" else cuda, step, raising(message))
    with pytest.raises(UsageError, match="can't be used: .* no kernel image .* the device; leave --engine out"):
        engines.open_engine("cuda", DOCUMENT, {}, ())
    a_card.setitem(engines.ENGINES, "openvino", f"{__name__}:the_next")
    assert engines.open_engine("auto", DOCUMENT, {}, ()) == "the next engine"


@pytest.mark.parametrize("step", ["on_card", "needs"])
@pytest.mark.parametrize(
    "fault",
    [
        raising("CUDA out of memory. Tried to allocate 2.00 MiB", torch.OutOfMemoryError),
        raising("CUDA error: out of memory"),
        raising("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_card_full_of_other_programs_is_told_when_it_is_opened(step: str, fault: Any, a_card: Any) -> None:
    a_card.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    a_card.setattr(cuda, step, fault)
    with pytest.raises(MachineError, match="no room for a single window; close other programs on it"):
        engines.open_engine("auto", DOCUMENT, {}, ())


@pytest.mark.parametrize("free_gib", [0.1, 14])
@pytest.mark.parametrize(("most", "batch"), [(99, 4), (2, 2)])
def test_the_batch_at_opening_does_not_follow_what_is_free_but_a_full_card(
    free_gib: float, most: int, batch: int, a_card: Any
) -> None:
    a_card.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gib * 2**30), 16 * 2**30))
    a_card.setattr(cuda, "needs", lambda *args: (2**31, 2**20))
    a_card.setitem(CudaEngine.__init__.__kwdefaults__, "capture", Captures())
    network = BytesNetwork(Means(most), HEADS, dict.fromkeys(("a/red", "b/green"), "identity"))
    assert cuda.engine_on(CPU, network, [WHOLE]).batch == batch
