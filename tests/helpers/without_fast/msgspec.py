"""On the path of Python, it hides msgspec, as if the extra ``fast`` were not installed."""

raise ModuleNotFoundError("msgspec is hidden: see the target test-without-fast in the Makefile")
