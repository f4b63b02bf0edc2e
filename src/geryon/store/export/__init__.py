"""Other people's formats, one a file. The table is here, where looking at it loads nothing."""

EXPORTERS = {
    "csv": "geryon.store.export.csv_:EXPORTER",
    "geojson": "geryon.store.export.geojson:EXPORTER",
}
"""Entry points of the group geryon.exporters add to it."""
