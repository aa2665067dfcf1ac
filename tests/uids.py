"""UIDs for files that tests make: all of one length, so that no test depends on the luck of a draw."""

import itertools
import os

from pydicom.uid import UID

_numbers = itertools.count()


def next_uid() -> UID:
    """Return a UID of 28 characters that no other test's file has; later ones are larger."""
    return UID(f"2.25.1{os.getpid():010d}{next(_numbers):012d}")
