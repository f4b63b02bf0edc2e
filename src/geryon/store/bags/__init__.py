"""A volume as other programs read it, a layout a file. The table is here, where looking at it loads nothing."""

BAGS = {
    "h5": "geryon.store.bags.h5:FORMAT",
    "nic": "geryon.store.bags.nic:FORMAT",
    "pt": "geryon.store.bags.pt:FORMAT",
    "stamp": "geryon.store.bags.stamp:FORMAT",
}
"""Entry points of the group geryon.bags add to it."""
GROUP = "geryon.bags"
