"""What every task must keep: decode(target) gives the labels back; what is unknown weighs nothing."""

from __future__ import annotations

import numpy as np

from geryon.space.boxes import Box, Frame
from geryon.space.windows import Window
from geryon.tasks.decoding import labels_of
from geryon.tasks.task import Labelled, Task, get_task

SIDE_CELLS = 192


class TaskContract:
    """Set `name`; `labels()` may be overridden by a task of another kind."""

    name: str

    @property
    def task(self) -> Task:
        return get_task(self.name)

    def labels(self, seed: int = 0) -> Labelled:
        """Objects of the sizes that the task is made for, or a raster."""
        rng = np.random.default_rng(seed)
        if self.task.seam == "place":
            names = self.task.class_names
            blocks = rng.integers(1, len(names) + 1, (6, 8))
            return Labelled(raster=np.kron(blocks, np.ones((4, 4), int)).astype(np.int32), raster_names=names)
        objects = _shapes(rng, self.task)
        names = self.task.class_names or ("",)
        return Labelled(objects=objects, classes={i: names[i % len(names)] for i in range(1, int(objects.max()) + 1)})

    def test_maps_and_classes_agree(self) -> None:
        for m in self.task.maps:
            assert m.activation in ("sigmoid", "softmax", "identity") and m.channels >= 1 and m.coarse >= 1
        assert len(self.task.colours) == max(1, len(self.task.class_names))

    def test_decoding_the_target_gives_the_labels_back(self) -> None:
        for seed in range(3):
            labelled = self.labels(seed)
            found, truth = self.found(labelled), self.truth(labelled)
            scores = self.task.metric(found, truth)
            assert scores.get("pq", scores.get("accuracy", 0.0)) >= 0.99, scores
            assert len(np.unique(found)) == len(np.unique(truth))

    def test_the_truth_scores_perfectly(self) -> None:
        truth = self.truth(self.labels())
        assert all(np.isclose(v, 1.0) for v in self.task.metric(truth, truth).values())

    def test_targets_are_probabilities_with_weights(self) -> None:
        for name, (target, weight) in self.task.target(self.labels(), self.task).items():
            assert target.dtype == np.float32 and target.min() >= 0 and target.max() <= 1
            assert target.shape[2] == self.task.map(name).channels and weight.shape == target.shape[:2]

    def test_what_is_unknown_weighs_nothing(self) -> None:
        labelled = self.labels()
        shape = (labelled.raster if labelled.raster is not None else labelled.objects).shape  # type: ignore[union-attr]
        unknown = Labelled(
            objects=None if labelled.objects is None else np.zeros(shape, np.int32),
            raster=None if labelled.raster is None else np.zeros(shape, np.int32),
            raster_names=labelled.raster_names,
            known=np.zeros(shape, bool),
        )
        for _, weight in self.task.target(unknown, self.task).values():
            assert not weight.any()

    def test_foreign_classes_are_unknown_not_negative(self) -> None:
        labelled = self.labels()
        if labelled.objects is None or not self.task.class_names:
            return
        foreign = Labelled(objects=labelled.objects, classes=dict.fromkeys(labelled.classes or {}, "chondrocyte"))
        assert not self.task.target(foreign, self.task)["class"][1].any()

    def truth(self, labelled: Labelled) -> np.ndarray:
        """int32 [y, x]"""
        kept = labelled.raster if labelled.raster is not None else labelled.objects
        assert kept is not None
        return kept

    def found(self, labelled: Labelled) -> np.ndarray:
        """What decoding makes of the targets, as bytes like a network's maps; int32 [y, x]."""
        from geryon.nets.model import halo_px, whole_objects, whole_window

        truth = self.truth(labelled)
        rows, columns = truth.shape
        mpp = self.task.mpp
        frame = Frame(name="task", mpp_x=mpp, mpp_y=mpp, width=columns, height=rows)
        window: Window = whole_window(frame, self.task)
        maps = {}
        for name, (target, _) in self.task.target(labelled, self.task).items():
            halo = halo_px(self.task, frame) // self.task.map(name).coarse
            maps[name] = np.pad(np.round(target * 255).astype(np.uint8), ((halo, halo), (halo, halo), (0, 0)))
        decoded = self.task.decode(maps, window, self.task)
        if self.task.seam == "place":
            classes: np.ndarray = decoded.argmax(axis=2).astype(np.int32) + 1
            return classes
        objects = whole_objects(decoded, self.task) if self.task.seam == "join" else decoded
        assert Box(frame, 0, 0, columns, rows) == frame.box
        return labels_of(objects, (rows, columns))


def _shapes(rng: np.random.Generator, task: Task) -> np.ndarray:
    """int32 [y, x]: ellipses or boxes that touch now and then, at least twice the smallest area of the task."""
    largest = 12 if task.seam == "own" else 30
    smallest = max(5.0, 2.0 * np.sqrt(task.smallest_um2 / np.pi) / task.mpp)
    y, x = np.mgrid[0:SIDE_CELLS, 0:SIDE_CELLS] + 0.5
    objects = np.zeros((SIDE_CELLS, SIDE_CELLS), np.int32)
    number = 0
    for _ in range(400):
        cx, cy, turn = rng.uniform(0, SIDE_CELLS), rng.uniform(0, SIDE_CELLS), rng.uniform(0, np.pi)
        a = rng.uniform(smallest, largest)
        b = max(smallest, a * rng.uniform(0.6, 1.0))
        u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        inside = (u / a) ** 2 + (v / b) ** 2 <= 1
        if task.boxes:
            inside = (np.abs(x - round(cx)) < round(a)) & (np.abs(y - round(cy)) < round(b))
        whole = min(cx, cy, SIDE_CELLS - cx, SIDE_CELLS - cy) > a
        if whole and not objects[inside].any():
            number += 1
            objects[inside] = number
    return objects
