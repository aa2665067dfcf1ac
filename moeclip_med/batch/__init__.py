"""Many studies: found in an archive or a PACS, scored by worker processes, each step kept in a ledger.

`run_batch` scores an archive, `read_status` tells how far it is. Names are loaded on first use, so importing this
package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moeclip_med.batch.driver import BatchSettings, run_batch
    from moeclip_med.batch.status import read_status

_HOME = {"BatchSettings": "driver", "read_status": "status", "run_batch": "driver"}

__all__ = ["BatchSettings", "read_status", "run_batch"]


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
