"""The path of events from a ``DxlClient`` to the callbacks.

Each ``DxlClient`` has one thread that owns its subscriptions; see ``subscriptions.py``.
"""
