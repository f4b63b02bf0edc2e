"""Which µm per pixel is believed (issue 7)."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import tifffile
from slides_making import UM, picture, write_pyramid, write_zarr

from geryon.errors import InputError, UsageError
from geryon.slides.reader import open_slide
from geryon.slides.resolution import of_description, resolve


def rule(**claims: object) -> object:
    return resolve(**{"given": None, "scanner": None, "objective": None, "where": "a.svs", **claims})


def test_given_wins_over_all() -> None:
    found = rule(given=0.25, scanner=(0.26, 0.26), objective=20.0)
    assert (found.mpp_x, found.source, found.warnings) == (0.25, "given", ())


def test_given_that_disagrees_is_used_and_warned_about() -> None:
    found = rule(given=0.5, scanner=(0.25, 0.25))
    assert found.mpp_x == 0.5 and "0.25" in found.warnings[0]
    assert not rule(given=0.27, scanner=(0.25, 0.25)).warnings


def test_scanner_then_objective_then_refusal() -> None:
    assert rule(scanner=(0.25, 0.25), objective=20.0).source == "scanner"
    guess = rule(objective=40.0)
    assert (guess.mpp_x, guess.source) == (0.25, "objective (estimate)") and "--mpp" in guess.warnings[0]
    with pytest.raises(InputError, match="--mpp"):
        rule()


@pytest.mark.parametrize("wrong", [0.00499, 352.8, 0.049, 20.1])
def test_what_no_scanner_has_is_not_believed(wrong: float) -> None:
    assert rule(scanner=(wrong, wrong), objective=20.0).source == "objective (estimate)"
    with pytest.raises(InputError, match="no slide scanner"):
        rule(scanner=(wrong, wrong))
    with pytest.raises(UsageError, match="--mpp"):
        rule(given=wrong)


def test_x_and_y() -> None:
    kept = rule(scanner=(0.25, 0.5))
    assert (kept.mpp_x, kept.mpp_y) == (0.25, 0.5)
    noise = rule(scanner=(0.2281750, 0.2281739))
    assert noise.mpp_x == noise.mpp_y == pytest.approx(0.22817445)


def test_descriptions() -> None:
    assert of_description("Aperio v1|AppMag = 40|MPP = 0.2523") == ((0.2523, 0.2523), 40.0)
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument><Objective '
        'NominalMagnification="20.0"/></Instrument><Image><Pixels PhysicalSizeX="250" PhysicalSizeXUnit="nm" '
        'PhysicalSizeY="0.0005" PhysicalSizeYUnit="mm"/></Image></OME>'
    )
    assert of_description(xml) == ((pytest.approx(0.25), pytest.approx(0.5)), 20.0)
    assert of_description("<OME broken") == (None, None) and of_description("a drawing") == (None, None)
    vips = "<property><name>openslide.mpp-{}</name><value type='x'>0.5</value></property>"
    assert of_description(vips.format("x") + vips.format("y")) == ((0.5, 0.5), None)


def test_print_resolution_is_no_resolution(tmp_path: Path) -> None:
    plain = tmp_path / "a.tif"
    dots = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(plain, picture(), tile=(64, 64), photometric="rgb", **dots)
    png, jpg = tmp_path / "a.png", tmp_path / "a.jpg"
    cv2.imwrite(str(png), picture())
    cv2.imwrite(str(jpg), picture())
    for path in (plain, png, jpg):
        with pytest.raises(InputError, match="--mpp"):
            open_slide(path)
        with open_slide(path, mpp=0.5) as slide:
            assert slide.mpp_source == "given" and not slide.warnings


def test_scanner_metadata_of_open_formats(tmp_path: Path) -> None:
    aperio = "Aperio Image Library v1\n300x200 (64x64) JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"
    files = {
        write_pyramid(tmp_path / "a.ome.tif", picture(), ome=UM): 0.5,
        write_pyramid(tmp_path / "a.svs", picture(), levels=1, compression="jpeg", description=aperio): 0.499,
        write_zarr(tmp_path / "a.ome.zarr", picture(), version="0.4"): 0.5,
        write_zarr(tmp_path / "b.ome.zarr", picture(), version="0.5"): 0.5,
    }
    for path, mpp in files.items():
        with open_slide(path) as slide:
            assert slide.mpp == (mpp, mpp) and slide.mpp_source == "scanner", path
