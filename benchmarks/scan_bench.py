"""How fast an archive is searched: 38 000 DICOM files in 19 000 studies, walked and grouped, nothing scored.

    python benchmarks/scan_bench.py [--files 38000]

Prints one line of JSON. The headers are read as `moeclip-med batch` reads them before it scores the first study.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from rehearse import SLICES, write_studies


def main() -> None:
    """Write the archive, search it, print."""
    from moeclip_med.batch.output import BatchOutput
    from moeclip_med.batch.planning import Archive, plan

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=38_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, BatchOutput(Path(name) / "out") as output:
        root = Path(name) / "archive"
        write_studies(root, options.files // SLICES)
        searches = []
        for _ in ("first", "again"):
            started = time.perf_counter()
            archive = Archive(root, output.folder)
            found = plan(archive, output.ledger, output.catalogue, output.pseudonyms, lambda *_: None)
            searches.append(round(time.perf_counter() - started, 1))
    print(json.dumps({"files": found.files, "studies": found.studies, "seconds": searches[0], "again_s": searches[1]}))


if __name__ == "__main__":
    main()
