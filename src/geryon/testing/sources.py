"""What every source must keep: subclass, say the source and a folder of it, inherit the tests."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy as np

from geryon import plugins
from geryon.space.units import is_plausible
from geryon.tasks.task import TASKS, Labelled, Task, get_task
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

    def tasks(self) -> list[Task]:
        """Those of the source's tasks that are there: a set may label what nobody asks yet."""
        known = plugins.names(TASKS, "geryon.tasks")
        return [get_task(name) for name in self.source.tasks if name in known]

    def test_states_its_terms(self) -> None:
        assert self.source.licence and self.source.citation and self.source.use in USES

    def test_says_how_fine_it_is_and_what_its_groups_are(self) -> None:
        assert self.source.groups and self.source.verified and self.source.mpp

    def stated_mpp(self) -> list[float]:
        return [float(number) for number in re.findall(r"\d+\.\d+", self.source.mpp)]

    def test_has_cases_with_names_and_groups(self) -> None:
        cases = list(islice(self.source.cases(self.root), 50))
        assert cases and all(case.name and case.group for case in cases)
        assert len({case.name for case in cases}) == len(cases)

    def test_images_and_mpp(self) -> None:
        for case in self.some():
            image = case.image()
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
            assert is_plausible(case.mpp)
            if stated := self.stated_mpp():
                assert min(stated) * 0.99 <= case.mpp <= max(stated) * 1.01

    def test_labels_lie_on_the_image_and_classes_in_the_tree(self) -> None:
        for case in self.some():
            shape = case.image().shape[:2]
            assert set(case.labels) <= set(self.source.tasks)
            trees = {task.name: task.classes for task in self.tasks()}
            for name, read in case.labels.items():
                labels, tree = read(), trees.get(name)
                arrays = (labels.objects, labels.foreground, labels.known, labels.raster)
                assert all(a.shape == shape for a in arrays if a is not None)
                assert labels.objects is None or set(labels.classes or {}) <= {*np.unique(labels.objects)}
                assert labels.boxes is None or boxes_lie_on(labels.boxes, shape)
                assert tree is None or all(tree.below(name) for name in names_of(labels))

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
            sample = sample_of(case, self.source.name, self.tasks())
            height, width = sample.image.shape[:2]
            assert height % GRID_PX == 0 and width % GRID_PX == 0
            for name, target in sample.targets.items():
                assert target.dtype == np.uint8 and height % target.shape[0] == 0
                assert sample.weights[name].shape == target.shape[:2]


def names_of(labels: Labelled) -> set[str]:
    """The classes that labels name; those left out are unknown."""
    return {*(labels.classes or {}).values(), *labels.raster_names, *labels.point_classes} - {""}


def boxes_lie_on(boxes: np.ndarray, shape: tuple[int, ...]) -> bool:
    """True where the boxes (xmin, ymin, xmax, ymax) have an area and meet the image."""
    area = (boxes[:, 2:] > boxes[:, :2]).all()
    return boxes.shape[1] == 4 and bool(area and (boxes[:, 2:] > 0).all() and (boxes[:, :2] < shape[::-1]).all())
