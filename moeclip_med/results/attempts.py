"""A writer that fails is told in a sentence and costs its own result alone."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def attempt(write: Callable[[Path], None], path: Path, name: str) -> str:
    """Write one result; whatever goes wrong is told, and nothing half-written stays.

    Args:
        write: Writes a file or folder.
        path: Which one.
        name: What the result is called in a sentence.

    Returns:
        Why it could not be written, in one sentence; "" where it was.

    Raises:
        OSError: Where the file system refuses, which concerns every result.
    """
    try:
        write(path)
    except OSError:
        raise
    except InputError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - one result must not cost the others
        reason = unexpected(name, error)
    else:
        return ""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return reason


def unexpected(name: str, error: Exception) -> str:
    """Say where a writer failed; never with the error's own text, which may hold a value of the patient."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"The {name} could not be written for this series ({type(error).__name__} at {Path(last.filename).name}:"
        f"{last.lineno}); the other results do not depend on it."
    )
