"""The version of this package, written only here."""

__version__ = "0.1.0"
