"""docs/data.md says what the sources state."""

from __future__ import annotations

from geryon.train.source import SOURCES, get_source
from tests.train import source_table


def test_the_page_says_what_the_sources_state() -> None:
    page = source_table.PAGE.read_text(encoding="utf-8")
    assert page == source_table.page_with(source_table.section()), "python -m tests.train.source_table writes it"


def test_the_table_of_leaks_names_every_set_that_holds_another() -> None:
    page = source_table.PAGE.read_text(encoding="utf-8")
    lines = {line.split("|")[1].strip(" `"): line for line in page.split("## Leaks")[1].splitlines() if "| `" in line}
    held = {name: get_source(name).holds for name in SOURCES if get_source(name).holds}
    assert set(lines) == set(held)
    assert all(f"`{other}`" in lines[name] for name, others in held.items() for other in others)
