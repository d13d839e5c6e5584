"""The package version, which is defined only in this file."""

__version__ = "0.1.0"
