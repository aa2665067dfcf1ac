"""From a tree to studies in the ledger: walk, look at headers, group, enter what is new or changed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.naming import PRIVATE_FOLDER

from moeclip_med.batch.headers import HeaderScanner, default_processes
from moeclip_med.batch.records import FileStamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from moeclip_med.batch.catalogue import Catalogue
    from moeclip_med.batch.headers import FileHeader
    from moeclip_med.batch.ledger import Ledger
    from moeclip_med.batch.pseudonyms import Pseudonyms

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


@dataclass(frozen=True)
class WalkProblem:
    """A place that could not be looked into.

    Attributes:
        path: The folder or file.
        reason: Why, in a few words.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class OutsideLink:
    """A link that leads out of the tree and is not followed.

    Attributes:
        path: The link.
    """

    path: Path


Found = FileStamp | WalkProblem | OutsideLink


def walk(root: Path, leave_out: Collection[Path] = (), *, follow_links: bool = False) -> Iterator[Found]:
    """Walk a tree.

    A link inside the tree is not followed: what it reaches is found anyway. A link out of the tree could name any file
    of this machine, so it is followed only where that was asked for. Each folder is entered once, so links in a
    circle end. Devices, FIFOs and sockets are left alone. Names need not be UTF-8.

    Args:
        root: The folder to walk; or a single file.
        leave_out: Folders not to enter (the output, where it lies in the tree).
        follow_links: Whether links that lead out of the tree are followed.

    Yields:
        A stamp for each regular file, a problem for each place that cannot be read, each link that leads out.
    """
    real_root = os.path.realpath(root)
    barred = {os.path.realpath(folder) for folder in leave_out}
    if not root.is_dir():
        yield _stamp(root)
        return
    entered: set[tuple[int, int]] = set()
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        try:
            if not _is_new(folder, entered, barred):
                continue
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield WalkProblem(Path(folder), _explain(error))
            continue
        folders: list[str] = []
        for entry in listed:
            found = _look_at(entry, real_root, follow_links=follow_links)
            if isinstance(found, str):
                folders.append(found)
            elif found is not None:
                yield found
        waiting += reversed(folders)


def _is_new(folder: str, entered: set[tuple[int, int]], barred: set[str]) -> bool:
    """Whether this folder is new and not excluded; remembers it."""
    facts = os.stat(folder)  # noqa: PTH116 - a string is several times faster than a Path in a tree this size
    key = (facts.st_dev, facts.st_ino)
    if key in entered or (barred and os.path.realpath(folder) in barred):
        return False
    entered.add(key)
    return True


def _look_at(entry: os.DirEntry[str], real_root: str, *, follow_links: bool) -> Found | str | None:
    """A stamp for a regular file, a path for a folder to enter, None for what is left alone."""
    try:
        if entry.is_symlink() and not (follow_links and _leads_out(entry.path, real_root)):
            return OutsideLink(Path(entry.path)) if _leads_out(entry.path, real_root) else _dangling(entry)
        if entry.is_dir():
            return None if entry.name == PRIVATE_FOLDER else entry.path
        facts = entry.stat()
    except FileNotFoundError:
        return None  # a file removed this moment
    except OSError as error:
        return WalkProblem(Path(entry.path), _explain(error))
    if not stat.S_ISREG(facts.st_mode):
        return None
    return FileStamp(Path(entry.path), facts.st_size, facts.st_mtime_ns)


def _dangling(link: os.DirEntry[str]) -> WalkProblem | None:
    """Say it where a link that is named as an image leads nowhere, as git-annex leaves them."""
    from moeclip_transforms.file_types import is_named_as_image

    if os.path.exists(link.path) or not is_named_as_image(link.name):  # noqa: PTH110 - as above
        return None
    return WalkProblem(Path(link.path), "it is a link to a file that is not there; bring the file (git annex get?)")


def _leads_out(link: str, root: str) -> bool:
    """Whether a link leads to something outside the tree."""
    target = os.path.realpath(link)
    is_inside = target == root or target.startswith(root.rstrip(os.sep) + os.sep)
    return not is_inside and os.path.exists(target)  # noqa: PTH110 - as above


def _stamp(path: Path) -> FileStamp | WalkProblem:
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        return WalkProblem(path, "is neither a folder nor a regular file")
    return FileStamp(path, facts.st_size, facts.st_mtime_ns)


def _explain(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "there is no permission to read it"
    return f"it cannot be read ({error.strerror or error})"
