"""The path of events from a ``DxlClient`` to the callbacks.

One thread for each ``DxlClient`` owns its subscriptions; see ``subscriptions.py``.
"""
