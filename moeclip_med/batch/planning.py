"""From a tree to studies in the ledger: walk, look at headers, group, enter what is new or changed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from moeclip_med.batch.headers import default_processes, header_scanner
from moeclip_med.batch.walking import WalkProblem, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from moeclip_med.batch.catalogue import Catalogue
    from moeclip_med.batch.headers import FileHeader
    from moeclip_med.batch.ledger import Ledger
    from moeclip_med.batch.pseudonyms import Pseudonyms
    from moeclip_med.batch.records import FileStamp

_CHUNK = 5000


@dataclass(frozen=True)
class Plan:
    """What a walk found.

    Attributes:
        files: Regular files.
        studies: Studies among them, new or not.
        others: Files that are no images.
        problems: Places and files that cannot be read, with the reason.
    """

    files: int
    studies: int
    others: int
    problems: tuple[tuple[Path, str], ...]


def plan(
    root: Path,
    leave_out: Path,
    ledger: Ledger,
    catalogue: Catalogue,
    pseudonyms: Pseudonyms,
    on_progress: Callable[[str, int, int | None], None],
) -> Plan:
    """Find every study below a folder and enter it in the ledger.

    Args:
        root: The archive.
        leave_out: The output folder, which is not searched.
        ledger: Where studies are entered.
        catalogue: Where files are entered; those known and unchanged are not opened.
        pseudonyms: The names of this output.
        on_progress: Told what is being done ("files found", "headers read"), how many, and of how many if known.
    """
    number = int(ledger.meta("walks") or 0) + 1
    ledger.set_meta("walks", str(number))
    problems: list[tuple[Path, str]] = []
    files = 0
    for stamps in _batches(_stamps(walk(root, [leave_out]), problems)):
        catalogue.see(stamps, number)
        files += len(stamps)
        on_progress("files found", files, None)
    _scan(catalogue, pseudonyms, on_progress)
    studies = _enter(catalogue, ledger, pseudonyms, number)
    return Plan(files, studies, catalogue.count_others(number), (*problems, *catalogue.problems(number)))


def _stamps(found: Iterable[FileStamp | WalkProblem], problems: list[tuple[Path, str]]) -> Iterator[FileStamp]:
    for item in found:
        if isinstance(item, WalkProblem):
            problems.append((item.path, item.reason))
        else:
            yield item


def _scan(catalogue: Catalogue, pseudonyms: Pseudonyms, on_progress: Callable[[str, int, int | None], None]) -> None:
    total = catalogue.count_unscanned()
    done = 0
    with header_scanner(pseudonyms.key, total, default_processes()) as scan:
        while waiting := catalogue.unscanned():
            headers: list[FileHeader] = []
            for part in scan([stamp.path for stamp in waiting]):
                headers += part
                on_progress("headers read", done + len(headers), total)
            catalogue.add_headers(headers)
            done += len(headers)


def _enter(catalogue: Catalogue, ledger: Ledger, pseudonyms: Pseudonyms, number: int) -> int:
    count = 0
    with ledger.transaction():
        for study, patient, files in catalogue.studies(number):
            ledger.add_study(study, patient, pseudonyms.signature(files), files)
            count += 1
    return count


def _batches(stamps: Iterator[FileStamp]) -> Iterator[Sequence[FileStamp]]:
    while batch := list(islice(stamps, _CHUNK)):
        yield batch
