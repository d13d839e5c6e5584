"""Delivers events from a ``DxlClient`` to callbacks.

One thread per ``DxlClient`` manages the subscriptions, as described in ``subscriptions.py``.
"""
