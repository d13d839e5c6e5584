"""Hides msgspec when on Python's path, as if the extra ``fast`` were not installed."""

raise ModuleNotFoundError("msgspec is hidden: see the target test-without-fast in the Makefile")
