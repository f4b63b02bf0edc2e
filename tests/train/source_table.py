"""The table of sources in docs/data.md, from what the sources state: python -m tests.train.source_table writes it."""

from __future__ import annotations

from geryon.train.source import SOURCES, Source, get_source
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "data.md"
BEGIN, END = "<!-- sources: ", "<!-- end of sources -->"
HEAD = ("source", "tasks", "licence", "use", "µm/px", "a group is", "layout tried on")


def section() -> str:
    """The table, and below it what to mind with each source and what to cite."""
    sources = [get_source(name) for name in sorted(SOURCES)]
    lines = [row(HEAD), row(["---"] * len(HEAD)), *map(row, map(cells, sources)), ""]
    lines += [f"* `{s.name}`: {s.traps}. {s.citation}." for s in sources]
    return "\n".join(lines) + "\n"


def cells(s: Source) -> tuple[str, ...]:
    mpp = f"{s.mpp} (estimate)" if s.mpp_is_estimate else s.mpp
    return f"`{s.name}`", ", ".join(s.tasks), s.licence, s.use, mpp, s.groups, s.verified


def row(texts: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def page_with(text: str) -> str:
    """The page with the section between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    start = page.index("\n", page.index(BEGIN)) + 1
    return page[:start] + text + page[page.index(END) :]


if __name__ == "__main__":
    PAGE.write_text(page_with(section()), encoding="utf-8")
