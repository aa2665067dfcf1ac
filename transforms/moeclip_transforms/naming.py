"""Names for files and failures, the same in every reader."""

from __future__ import annotations

import hashlib
import opcode
import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OWN_NAME = "MoECLIP-Med"
"""What our own results carry, as manufacturer or description, so that they are never taken for images."""

OWN_RESULT = f"a result of {OWN_NAME} itself"

PRIVATE_FOLDER = ".batch"
"""Where a batch keeps its ledger and key: never looked into for images."""

_CONTRADICTORY = "its parts contradict each other or are cut off"
_ABOUT_THE_FILE: dict[type[Exception], str] = {
    MemoryError: "it asks for more memory than there is",
    RecursionError: "its parts are nested too deeply",
    UnicodeError: "a text in it is in another encoding than it should be",
    **dict.fromkeys(
        (AttributeError, TypeError, LookupError, AssertionError, ArithmeticError, struct.error, ValueError),
        _CONTRADICTORY,
    ),
}
_QUOTED = re.compile(r"""(?<!\w)b?(['"]).*?\1(?!\w)""")
"""A value that a library quotes: it may be a name, and its marks would part our own sentence."""
_RAISE = opcode.opmap["RAISE_VARARGS"]


def stable_uid(path: Path) -> str:
    """An identifier for a file that has none: made from its name, the same wherever the file lies."""
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return f"file-{digest}"


def reason(error: BaseException) -> str:
    """What a library complained about, in one line without a full stop.

    Words of Python itself ("not enough values to unpack") tell a user nothing, and may quote the file: they become a
    statement about it.
    """
    if notes := getattr(error, "__notes__", None):  # from another process, which left the traceback behind
        return str(notes[-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without the path, which may name a patient
    about_file = next((words for kind, words in _ABOUT_THE_FILE.items() if isinstance(error, kind)), "")
    if about_file and not (isinstance(error, ValueError) and _is_raised_on_purpose(error)):
        return about_file
    lines = str(error).strip().splitlines() or [type(error).__name__]
    line = lines[-1] if lines[0].endswith(":") else lines[0]  # of several decoders, the last one's words
    return _QUOTED.sub("…", line.strip())[:200].rstrip(".:")


def _is_raised_on_purpose(error: BaseException) -> bool:
    """Whether a statement `raise` made it, not the interpreter or NumPy while they worked on damaged data."""
    trace = error.__traceback__
    if trace is None or type(error).__module__ != "builtins":
        return True
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE
