"""Names: what a person gives may be a path, what a file gives may not."""

from __future__ import annotations

import pytest

from geryon import plugins
from geryon.errors import UsageError


def test_a_person_may_name_code_by_its_path_but_a_file_may_not() -> None:
    assert plugins.find({}, "geryon.tasks", "math:pi") > 3
    with pytest.raises(UsageError, match="no task is called 'math:pi'"):
        plugins.look_up({}, "geryon.tasks", "math:pi")
    assert plugins.look_up({"pi": "math:pi"}, "geryon.tasks", "pi") > 3


@pytest.mark.parametrize(
    ("group", "kind"), [("topologies", "topology"), ("losses", "loss"), ("engines", "engine"), ("measures", "measure")]
)
def test_what_is_missing_is_called_by_its_kind(group: str, kind: str) -> None:
    for find in (plugins.find, plugins.look_up):
        with pytest.raises(UsageError, match=f"no {kind} is called 'none'"):
            find({}, f"geryon.{group}", "none")
