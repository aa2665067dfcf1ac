"""The version, in one place."""

__version__ = "0.1.0"

RESULT_SCHEMA = 2
"""Rises when the same input, model and settings give other scores or findings, or results have another form.

What was scored under another number is scored again; the version of the package alone changes nothing.
"""
