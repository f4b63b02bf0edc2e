"""The store's name for geryon.atomic, which nets and train use too."""

from geryon.atomic import host, is_running, remove, sync_folder, whole_file

__all__ = ["host", "is_running", "remove", "sync_folder", "whole_file"]
