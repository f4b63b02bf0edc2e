"""geryon slides: answers about whole slides, one subcommand a file."""

from __future__ import annotations

SUBCOMMANDS = {
    "fit": ("geryon.cli.slides_fit", "learn from a table of slides and labels"),
    "predict": ("geryon.cli.slides_predict", "answer about slides with a model that fit made"),
    "explain": ("geryon.cli.slides_explain", "where a model of slides looked, as rasters and outlines on the slide"),
    "needles": ("geryon.cli.slides_needles", "how small an object may be in an image, and which pooling finds it"),
}
"""Like COMMANDS of cli/__init__.py, which dispatches them."""
