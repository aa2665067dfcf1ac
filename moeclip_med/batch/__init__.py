"""Many studies: found in an archive or a PACS, scored by worker processes, each step kept in a ledger.

`run_batch` scores an archive, `read_status` tells how far it is. Names are loaded on first use, so importing this
package costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
