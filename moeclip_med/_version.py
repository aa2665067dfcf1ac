"""The version, in one place."""

__version__ = "0.1.0"

RESULT_SCHEMA = 1
"""Raised when the same model, settings and input give another result; a batch then scores again."""
