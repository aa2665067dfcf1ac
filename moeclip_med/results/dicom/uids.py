"""Unique identifiers that follow from what they name, so that the same run gives the same ones."""

from __future__ import annotations

import hashlib
import uuid


def make_uid(*parts: str) -> str:
    """Return an identifier under the root 2.25 (PS3.5, section B.2) that follows from its parts."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, digest).int}"
