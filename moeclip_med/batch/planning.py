"""From a tree to studies in the ledger: walk, look at headers, group, enter what is new or changed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from moeclip_med.batch.headers import HeaderScanner, default_processes
from moeclip_med.batch.records import FileStamp
from moeclip_med.batch.walking import WalkProblem, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from moeclip_med.batch.catalogue import Catalogue
    from moeclip_med.batch.headers import FileHeader
    from moeclip_med.batch.ledger import Ledger
    from moeclip_med.batch.pseudonyms import Pseudonyms
    from moeclip_med.batch.walking import Found

_CHUNK = 5000


@dataclass(frozen=True)
class Archive:
    """Where studies are looked for.

    Attributes:
        root: The archive.
        leave_out: The output folder, which is not searched.
        follow_links: Whether links that lead out of the archive are followed.
        memory_bytes: For reading headers; None for no limit.
    """

    root: Path
    leave_out: Path
    follow_links: bool = False
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a walk found.

    Attributes:
        files: Regular files.
        studies: Studies among them, new or not.
        others: Files that are no images.
        problems: Places and files that cannot be read, with the reason.
        outside_links: Links that lead out of the archive and were not followed.
    """

    files: int
    studies: int
    others: int
    problems: tuple[tuple[Path, str], ...]
    outside_links: int = 0


def plan(
    archive: Archive,
    ledger: Ledger,
    catalogue: Catalogue,
    pseudonyms: Pseudonyms,
    on_progress: Callable[[str, int, int | None], None],
) -> Plan:
    """Find every study below a folder and enter it in the ledger.

    Args:
        archive: Where to look.
        ledger: Where studies are entered.
        catalogue: Where files are entered; those known and unchanged are not opened.
        pseudonyms: The names of this output.
        on_progress: Told what is being done ("files found", "headers read"), how many, and of how many if known.
    """
    number = int(ledger.meta("walks") or 0) + 1
    ledger.set_meta("walks", str(number))
    problems: list[tuple[Path, str]] = []
    files = links = 0
    for found in _batches(walk(archive.root, [archive.leave_out], follow_links=archive.follow_links)):
        stamps = [item for item in found if isinstance(item, FileStamp)]
        broken = [(item.path, item.reason) for item in found if isinstance(item, WalkProblem)]
        problems += broken
        links += len(found) - len(stamps) - len(broken)
        catalogue.see(stamps, number)
        files += len(stamps)
        on_progress("files found", files, None)
    _scan(archive, catalogue, pseudonyms, on_progress)
    studies = _enter(catalogue, ledger, pseudonyms, number)
    problems += catalogue.problems(number)
    return Plan(files, studies, catalogue.count_others(number), tuple(problems), links)


def _scan(
    archive: Archive,
    catalogue: Catalogue,
    pseudonyms: Pseudonyms,
    on_progress: Callable[[str, int, int | None], None],
) -> None:
    total = catalogue.count_unscanned()
    done = 0
    with HeaderScanner(pseudonyms.key, total, default_processes(), archive.memory_bytes) as scanner:
        while waiting := catalogue.unscanned():
            headers: list[FileHeader] = []
            for part in scanner.scan([stamp.path for stamp in waiting]):
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


def _batches(found: Iterable[Found]) -> Iterator[Sequence[Found]]:
    remaining = iter(found)
    while batch := list(islice(remaining, _CHUNK)):
        yield batch
