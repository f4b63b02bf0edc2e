"""Splits: no patient on two sides, folds that partition, strata spread, and a saved split that does not change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import InputError, UsageError
from geryon.train import split_file, splits
from geryon.train.splits import HELD_OUT, TRAIN, VALIDATION, Item, Split

ITEMS = st.lists(
    st.builds(
        Item,
        source=st.sampled_from(["a", "b"]),
        group=st.sampled_from([f"case {i}" for i in range(12)]),
        name=st.text("xyz", min_size=1, max_size=3),
        stratum=st.sampled_from(["", "benign", "malignant"]),
    ),
    min_size=1,
    max_size=60,
)


def items(strata: dict[str, int], each: int = 3, source: str = "a") -> list[Item]:
    """That many groups of each stratum, each with some images."""
    return [
        Item(source=source, group=f"{stratum} {g}", name=f"{stratum} {g} {i}", stratum=stratum)
        for stratum, n in strata.items()
        for g in range(n)
        for i in range(each)
    ]


@settings(max_examples=100, deadline=None)
@given(ITEMS, st.floats(0, 0.9), st.integers(0, 3), st.sets(st.integers(0, 11), max_size=3))
def test_no_group_is_on_two_sides(some: list[Item], validation: float, seed: int, away: set[int]) -> None:
    split = Split(validation=validation, seed=seed, held_out={"a": tuple(f"case {i}" for i in away)})
    of_group: dict[tuple[str, str], set[str]] = {}
    for item, side in zip(some, splits.sides(some, split), strict=True):
        of_group.setdefault((item.source, item.group), set()).add(side)
    assert all(len(both) == 1 for both in of_group.values())
    held = {group for (source, group), side in of_group.items() if side == {HELD_OUT}}
    assert held <= {f"case {i}" for i in away}


@settings(max_examples=100, deadline=None)
@given(ITEMS, st.integers(2, 6), st.integers(0, 3))
def test_folds_partition_the_groups(some: list[Item], folds: int, seed: int) -> None:
    validated: Counter[tuple[str, str]] = Counter()
    for fold in range(folds):
        placed = splits.sides(some, Split(folds=folds, fold=fold, seed=seed))
        validated.update({(i.source, i.group) for i, side in zip(some, placed, strict=True) if side == VALIDATION})
    assert validated == Counter({(i.source, i.group) for i in some})


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(2, 6))
def test_folds_hold_as_many_groups_of_each_stratum(a: int, b: int, c: int, folds: int) -> None:
    some = items({"benign": a, "malignant": b, "": c}, each=1)
    counts = []
    for fold in range(folds):
        placed = splits.sides(some, Split(folds=folds, fold=fold))
        counts.append(Counter(i.stratum for i, side in zip(some, placed, strict=True) if side == VALIDATION))
    for stratum in ("benign", "malignant", ""):
        numbers = [count[stratum] for count in counts]
        assert max(numbers) - min(numbers) <= 1
    totals = [sum(count.values()) for count in counts]
    assert max(totals) - min(totals) <= 1


def test_a_part_is_spread_over_strata_too() -> None:
    some = items({"benign": 20, "malignant": 10})
    placed = splits.sides(some, Split(validation=0.2))
    groups = {i.group: i.stratum for i, side in zip(some, placed, strict=True) if side == VALIDATION}
    assert Counter(groups.values()) == {"benign": 4, "malignant": 2}


def test_a_new_group_moves_at_most_one_other() -> None:
    some = items({"": 20})
    before = splits.chosen("a", dict.fromkeys({i.group for i in some}, ""), Split(validation=0.25))
    after = splits.chosen("a", dict.fromkeys({i.group for i in some} | {"new"}, ""), Split(validation=0.25))
    assert len(before) == 5 and len(before - after) <= 1


def test_held_out_by_name_holds_its_other_sizes_too_and_torn_groups_are_told() -> None:
    some = [
        Item(source="a", group="1", name="test_1"),
        Item(source="a", group="1", name="test_1 x0.85"),
        Item(source="a", group="1", name="train_1"),
        Item(source="a", group="2", name="train_2"),
    ]
    for pattern in ("test_1", "test*"):
        split = Split(validation=0, held_out={"a": (pattern, "gone")})
        assert splits.sides(some, split) == [HELD_OUT, HELD_OUT, TRAIN, TRAIN]
        assert splits.torn(some, split) == ["a 1"] and splits.unmatched(some, split) == ["a gone"]


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (
            Split(validation=0.2),
            "a: the split leaves nothing for validation: it has 1 group; add cases of other groups",
        ),
        (Split(folds=3), "a: the split has 3 folds and the source 1 groups; lower split.folds"),
        (Split(held_out={"a": ("*",)}), "a: the split leaves nothing of it: all is held out; shorten its list"),
        (Split(validation=0), ""),
        (Split(train_only=("a",)), ""),
    ],
)
def test_a_source_that_a_split_leaves_nothing_of_is_a_fault(split: Split, says: str) -> None:
    from geryon.train.faults import told

    lines = told(splits.faults([*items({"x": 1}), *items({"y": 9}, source="b")], split))
    assert [line[: len(says)] for line in lines] == ([says] if says else [])
    assert all("split.train_only: [a]" in line for line in lines if "all is" not in line)


@pytest.mark.parametrize("wrong", [{"validation": 1.0}, {"folds": 1}, {"folds": 3, "fold": 3}, {"fold": 1}])
def test_settings_that_make_no_split_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Split(**wrong)


def test_a_saved_split_lists_every_image_and_is_taken_over(tmp_path: Path) -> None:
    some = items({"x": 4})
    split = Split(validation=0.25, held_out={"a": ("x 3",)})
    split_file.keep(tmp_path, split_file.document(some, split, start="m 1 (open use)"))
    saved = json.loads((tmp_path / "split.json").read_text())
    assert [(c["source"], c["group"], c["name"]) for c in saved["cases"]] == [("a", i.group, i.name) for i in some]
    assert [c["side"] for c in saved["cases"]] == splits.sides(some, split)
    assert split_file.names_of(saved, "a", HELD_OUT) == {f"x 3 {i}" for i in range(3)}
    split_file.keep(
        tmp_path,
        split_file.document([*some, Item(source="a", group="x 0", name="x 0 0 x1.2")], split, start=saved["start"]),
    )


@pytest.mark.parametrize(
    ("change", "start", "says"),
    [
        ({"seed": 5}, "", "the split would change for [0-9]+ of 36 images .a x [0-9]+ 0: (train|validation) before"),
        ({"held_out": {"a": ("x 1",)}}, "", "the split would change"),
        ({}, "m 1 .research use.", "the run here began with random weights, the recipe begins with m 1"),
    ],
)
def test_a_run_does_not_go_on_with_another_split_or_start(
    tmp_path: Path, change: dict[str, object], start: str, says: str
) -> None:
    some = items({"x": 12})
    split_file.keep(tmp_path, split_file.document(some, Split(validation=0.25), start=""))
    before = (tmp_path / "split.json").read_bytes()
    with pytest.raises(UsageError, match=says):
        split_file.keep(tmp_path, split_file.document(some, Split(**{"validation": 0.25, **change}), start=start))
    assert (tmp_path / "split.json").read_bytes() == before


def test_a_folder_of_another_recipe_is_refused(tmp_path: Path) -> None:
    some, split = items({"x": 4}), Split(validation=0.25)
    split_file.keep(tmp_path, split_file.document(some, split, start="", name="long"))
    with pytest.raises(UsageError, match="the run here is that of long, the recipe is called short"):
        split_file.keep(tmp_path, split_file.document(some, split, start="", name="short"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "start": "", "cases": [{}]}'])
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match="is no saved split"):
        split_file.read(tmp_path / "split.json")
