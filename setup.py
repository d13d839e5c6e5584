"""A stub for tools that require ``setup.py``. All settings are in ``pyproject.toml``."""

from setuptools import setup

setup()
