"""geryon slides: answers about whole slides, one subcommand a file."""

from __future__ import annotations

SUBCOMMANDS = {
    "fit": ("geryon.cli.slides_fit", "learn from a table of slides and labels"),
    "predict": ("geryon.cli.slides_predict", "answer about slides with a model that fit made"),
}
"""Like COMMANDS of cli/__init__.py, which dispatches them."""
