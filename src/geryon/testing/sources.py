"""What every source must keep: subclass, say the source and a folder of it, inherit the tests."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from geryon.space.units import is_plausible
from geryon.tasks.task import get_task
from geryon.train.pack import GRID_PX, sample_of
from geryon.train.source import Case, Source

USES = ("open", "research", "evaluate")


class SourceContract:
    """Set `source` and `root` (a folder of the release, or a tiny imitation)."""

    source: Source
    root: Path
    most = 3
    """Cases that are looked at."""

    def some(self) -> list[Case]:
        return list(islice(self.source.cases(self.root), self.most))

    def test_states_its_terms(self) -> None:
        assert self.source.licence and self.source.citation and self.source.use in USES

    def test_has_cases_with_names_and_groups(self) -> None:
        cases = list(islice(self.source.cases(self.root), 50))
        assert cases and all(case.name and case.group for case in cases)
        assert len({case.name for case in cases}) == len(cases)

    def test_images_and_mpp(self) -> None:
        for case in self.some():
            image = case.image()
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            assert is_plausible(case.mpp)

    def test_labels_lie_on_the_image_and_classes_in_the_tree(self) -> None:
        for case in self.some():
            shape = case.image().shape[:2]
            assert set(case.labels) <= set(self.source.tasks)
            for name, read in case.labels.items():
                labels, tree = read(), get_task(name).classes
                arrays = (labels.objects, labels.foreground, labels.known, labels.raster)
                assert all(a.shape == shape for a in arrays if a is not None)
                named = [*(labels.classes or {}).values(), *labels.raster_names, *labels.point_classes]
                assert tree is None or all(tree.below(c) for c in named if c)

    def test_hints_are_of_other_tasks_and_lie_on_the_image(self) -> None:
        for case in self.some():
            assert not set(case.hints) & set(case.labels)
            for name, read in case.hints.items():
                get_task(name)
                labels, shape = read(), case.image().shape[:2]
                assert labels.known is not None and labels.known.dtype == bool and labels.known.shape == shape
                assert labels.objects is not None and labels.objects.shape == shape

    def test_packs_into_targets_that_a_network_can_learn(self) -> None:
        for case in self.some():
            sample = sample_of(case, self.source.name, [get_task(name) for name in self.source.tasks])
            height, width = sample.image.shape[:2]
            assert height % GRID_PX == 0 and width % GRID_PX == 0
            for name, target in sample.targets.items():
                assert target.dtype == np.uint8 and height % target.shape[0] == 0
                assert sample.weights[name].shape == target.shape[:2]
            assert any(w.any() for w in sample.weights.values()) or case.name
