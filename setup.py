"""A stub for tools that need ``setup.py``. All settings are in ``pyproject.toml``."""

from setuptools import setup

setup()
