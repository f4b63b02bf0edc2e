"""The card of an encoder: what it takes and gives, what it learnt from and on which terms, what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geryon.atomic import whole_file
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.weights import flat

USE = {
    "open": "any use, within the licences of its sources",
    "research": "RESEARCH ONLY: a source forbids other use",
    "experiment": "EXPERIMENT ONLY: for comparisons; a source is there to evaluate on, so this is never to be shipped",
}


def write_card(path: Path, document: EncoderDocument, *, sha256: str) -> None:
    """Write the card in Markdown."""
    facts = [
        ("patch", f"{document.patch_px} px of {document.mpp:g} µm ({document.patch_um:g} µm), RGB as read"),
        ("code", f"{document.code} numbers"),
        ("network", document.topology),
        ("use", USE[document.use]),
        ("SHA-256", f"`{sha256}`"),
    ]
    sources = [(s.name, s.licence, s.use, str(s.samples), s.citation) for s in document.sources]
    figures = [(name, _told(value)) for name, value in flat(document.training).items()]
    lines = [f"# {document.name} {document.version}", "", *_table(("", ""), facts)]
    lines += ["## Sources and their terms", "", *_table(("source", "licence", "use", "patches", "citation"), sources)]
    lines += ["## Training", "", *_table(("", ""), figures), "Not a medical device."]
    with whole_file(path) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _told(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["none", ""]
    lines = [head, tuple("---" for _ in head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]
