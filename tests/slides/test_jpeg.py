"""A JPEG that was hurt is told from a whole one, without its pixels being made."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from slides_making import encode_jpeg, picture

from geryon.slides import jpeg

SAMPLINGS = [getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{n}") for n in (411, 420, 422, 440, 444)]


def coded(image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".jpg", image, list(options))[1].tobytes()


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(64, 64), (61, 37), (8, 200)])
def test_whole_of_every_layout(sampling: int, size: tuple[int, int]) -> None:
    image = picture(*size)
    both = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    assert jpeg.fault(coded(image, *both)) == ""
    assert jpeg.fault(coded(image, *both, cv2.IMWRITE_JPEG_OPTIMIZE, 1)) == ""
    assert jpeg.fault(coded(image, *both, cv2.IMWRITE_JPEG_RST_INTERVAL, 3)) == ""
    assert jpeg.fault(coded(image[..., 0])) == ""
    assert jpeg.fault(coded(image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == ""  # not walked


def test_tables_kept_apart() -> None:
    """As in a TIFF: the tile itself has none, and without them nothing can be made of it."""
    whole = encode_jpeg(picture(64, 64))
    segments = list(jpeg._segments(whole))
    kept = [whole[end - len(body) - 4 : end] for marker, body, end in segments if marker in (jpeg.DHT, 0xDB)]
    tile = whole
    for segment in kept:
        tile = tile.replace(segment, b"")
    tables = b"\xff\xd8" + b"".join(kept) + b"\xff\xd9"
    assert jpeg.fault(tile, tables) == ""
    assert "tables" in jpeg.fault(tile)


@pytest.mark.parametrize("restart", [0, 3])
def test_each_cut_is_told(restart: int) -> None:
    whole = coded(picture(64, 48), cv2.IMWRITE_JPEG_RST_INTERVAL, restart)
    begin = max(end for _, _, end in jpeg._segments(whole))
    for length in range(begin, len(whole)):
        assert jpeg.fault(whole[:length]), length
        assert jpeg.fault(whole[:length] + bytes(len(whole) - length)), length
        assert jpeg.fault(whole[:length] + b"\xff\xd9") or length >= len(whole) - 2, length


def test_most_holes_are_told_and_a_lost_restart_interval() -> None:
    whole = coded(picture(256, 256))
    begin = max(end for _, _, end in jpeg._segments(whole))
    holes = [whole[:at] + bytes(512) + whole[at + 512 :] for at in range(begin, len(whole) - 514, 64)]
    assert np.mean([bool(jpeg.fault(hurt)) for hurt in holes]) > 0.95  # by chance the codes may add up again
    parts = coded(picture(64, 48), cv2.IMWRITE_JPEG_RST_INTERVAL, 3).split(b"\xff\xd1")
    assert jpeg.fault(parts[0] + b"\xff\xd2" + parts[1].split(b"\xff\xd2", 1)[1]) == jpeg.FAULTS[jpeg.RESTARTS]


def test_noise_ends_without_a_crash() -> None:
    random = np.random.default_rng(0)
    whole = coded(picture(64, 64))
    begin = max(end for _, _, end in jpeg._segments(whole))
    for _ in range(300):
        hurt = bytearray(whole)
        for at in random.integers(2, begin, 3):  # in what describes the pixels
            hurt[at] = random.integers(256)
        jpeg.fault(bytes(hurt))
    assert jpeg.fault(b"") == jpeg.fault(b"\xff\xd8") == jpeg.fault(bytes(100)) == ""
