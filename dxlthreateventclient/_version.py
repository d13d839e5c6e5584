"""The version of this package. It is written only here."""

__version__ = "0.1.0"
