"""What every measure must do; subclass it in a test and give the measure."""

from __future__ import annotations

import numpy as np

from geryon.flows.measure import Measure, Place
from geryon.slides.array import slide_of_image
from geryon.space.objects import Outlines
from geryon.testing.exporters import squares

OWN = {"id", "x", "y", "bbox", "geometry", "class", "score", "area_um2"}


class MeasureContract:
    """The columns that it says, one number an object, and none of them knows the others."""

    measure: Measure
    mpp = 1.0
    """The task's; the slide has 0.5."""

    def outlines(self) -> Outlines:
        """Objects in level0, inside 400 x 200 pixels."""
        return squares(180, columns=20).outlines

    def values(self, outlines: Outlines) -> dict[str, np.ndarray]:
        """What it finds on a slide whose every pixel is another."""
        image = np.random.default_rng(5).integers(40, 256, (200, 400, 3)).astype(np.uint8)
        place = Place(slide=slide_of_image(image, mpp=0.5), mpp=self.mpp)
        return {name: np.asarray(value) for name, value in self.measure.of(outlines, place).items()}

    def test_columns_name_their_units_and_are_nobody_elses(self) -> None:
        names = self.measure.columns
        assert len(set(names)) == len(names) and not OWN & set(names)
        assert all(name.isidentifier() and "_" in name and not name.startswith("p_") for name in names)

    def test_there_is_one_number_an_object(self) -> None:
        found = self.values(self.outlines())
        assert set(found) == set(self.measure.columns)
        assert all(value.shape == (180,) and value.dtype.kind == "f" for value in found.values())
        assert all(np.isfinite(value).any() for value in found.values())

    def test_no_objects_no_numbers(self) -> None:
        found = self.values(squares(0).outlines)
        assert set(found) == set(self.measure.columns) and all(len(value) == 0 for value in found.values())

    def test_an_object_alone_has_the_same_numbers(self) -> None:
        outlines = self.outlines()
        together = self.values(outlines)
        for some in (np.array([0]), np.array([179]), np.array([90, 17, 44])):
            alone = self.values(outlines.take(some))
            for name in self.measure.columns:
                np.testing.assert_array_equal(alone[name].astype(np.float32), together[name][some].astype(np.float32))
