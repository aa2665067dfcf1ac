"""A walk through a folder of strangers: regular files only, links inside, nothing twice."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.file_types import is_named_as_image, is_regular
from moeclip_transforms.naming import PRIVATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Skipped:
    """What a walk through a folder excluded.

    Attributes:
        links: Links that lead out of the folder; they could name any file of the machine.
        folders: Folders that cannot be listed, each with the reason.
    """

    links: list[Path] = field(default_factory=list)
    folders: list[tuple[Path, str]] = field(default_factory=list)

    def sentences(self, root: Path) -> tuple[tuple[Path, str], ...]:
        """Say it, each with the path it is about; all links in one sentence."""
        said = [(path, f'The folder "{path.name}" cannot be listed ({why}).') for path, why in self.folders]
        if self.links:
            more = f" and {len(self.links) - 1} more are links" if len(self.links) > 1 else " is a link"
            first = self.links[0]
            said.append(
                (
                    first,
                    f'"{first.name}"{more} out of "{root.name}", not followed without --follow-links.',
                )
            )
        return tuple(said)


def iter_files(root: Path, skipped: Skipped | None = None, *, follow_links: bool = False) -> Iterator[Path]:
    """The regular files under a folder, in a fixed order; devices and pipes are left alone.

    A link to a folder inside is not followed: what it reaches is found anyway. A link that leads nowhere and is named
    as an image is given too, so that `scan` reports it.

    Args:
        root: The folder.
        skipped: Told what is skipped.
        follow_links: Whether links out of the folder are followed, each folder once.
    """
    skipped = skipped or Skipped()
    real_root = root.resolve()
    entered: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:  # os.walk calls itself once per level before Python 3.12, which a deep tree makes an end of
        folder = waiting.pop()
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in entered:
                continue
            entered.add((facts.st_dev, facts.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.folders.append((folder, error.strerror or type(error).__name__))
            continue
        folders = []
        for entry in listed:
            path = Path(entry.path)
            leads_out = entry.is_symlink() and _exists(path) and not path.resolve().is_relative_to(real_root)
            if leads_out and not follow_links:
                skipped.links.append(path)
            elif _is_folder(entry):
                if entry.name != PRIVATE_FOLDER and (leads_out or not entry.is_symlink()):
                    folders.append(path)
            elif is_regular(path) or (entry.is_symlink() and is_named_as_image(path.name) and not _exists(path)):
                yield path
        waiting += reversed(folders)


def _exists(path: Path) -> bool:
    """Whether a link leads anywhere that may be looked at."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False
