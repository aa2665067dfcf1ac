"""Fetch photographs of ground, rock and walls from Debian's archive: normal images for synthetic defects.

    python scripts/fetch_textures.py FOLDER [--package 0ad-data_0.0.26-1_all.deb]

Writes FOLDER/terrain/*.png and FOLDER/terrain.terms.txt. The package `0ad-data` (Debian 12, main; 1.4 GB) holds the
terrain textures of the game 0 A.D. (Wildfire Games, 2010, CC BY-SA 3.0). It is fetched with `apt-get download`, so that
apt checks its signature, and its SHA-256 is compared with the one that was looked at. Nothing of it is committed.

Skipped: maps of normals and of gloss, textures under 256 pixels, flat ones, and all but one of those that look alike.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PACKAGE = "0ad-data"
VERSION = "0.0.26-1"
SHA256 = "53745ae74d05bccf6783400fa98f3932b21729ab9d2e86151aa2c331c3455178"
ARCHIVE = "./usr/share/games/0ad/mods/public/public.zip"
TEXTURES = "art/textures/terrain/types/"
NO_PHOTOGRAPH = ("_norm.", "_spec.")
CATEGORY = "terrain"
SHORT_TERMS = f"CC BY-SA 3.0, Wildfire Games 2010, Debian package {PACKAGE} {VERSION}"
TERMS = f"""Terrain textures of the game 0 A.D., (c) 2010 Wildfire Games.
Terms: Creative Commons Attribution-ShareAlike 3.0, https://creativecommons.org/licenses/by-sa/3.0/
Source: Debian package {PACKAGE} {VERSION} (main), usr/share/doc/{PACKAGE}/copyright.
Changes: converted from DDS to PNG; transparency dropped.
"""

SMALLEST = 256
LARGEST = 1024
"""Pixels along a side; larger ones are shrunk."""
FLATTEST = 3.0
"""Smallest standard deviation of a texture's grey values, of 255."""
THUMBNAIL = 16
ALIKE = 4.0
"""Two textures whose thumbnails differ by less than this, in grey values of 255, count as one."""


def main() -> None:
    """Fetch, check, extract."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--package", type=Path, help="The package's file, where it was fetched before.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = options.package or download(Path(folder))
        check(package)
        archive = Path(folder) / "public.zip"
        extract(package, archive)
        count = write(archive, options.folder)
    print(f'{count} textures in {options.folder / CATEGORY}; train with --terms "{CATEGORY}={SHORT_TERMS}"')


def download(folder: Path) -> Path:
    """Let apt fetch the package into a folder."""
    done = subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], cwd=folder, check=False)  # noqa: S603, S607 - Debian's apt
    if done.returncode:
        sys.exit(f"apt-get could not download {PACKAGE} {VERSION}; it is part of Debian 12. See its message above.")
    return next(folder.glob(f"{PACKAGE}_*.deb"))


def check(package: Path) -> None:
    """Compare the package's SHA-256 with the one that was looked at."""
    with package.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        sys.exit(f"{package}: SHA-256 is {found}; expected {SHA256} ({PACKAGE} {VERSION}).")


def extract(package: Path, archive: Path) -> None:
    """Copy the game's archive out of the package."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:  # noqa: S603, S607 - a checked file
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as files:
            for member in files:
                content = files.extractfile(member) if member.name == ARCHIVE else None
                if content is not None:
                    with archive.open("wb") as copy:
                        while block := content.read(1 << 20):
                            copy.write(block)
                    break
        unpacking.kill()
    if not archive.exists():
        sys.exit(f"{package}: holds no {ARCHIVE}.")


def write(archive: Path, folder: Path) -> int:
    """Write the textures worth keeping as PNG, with their terms; return how many."""
    target = folder / CATEGORY
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, texture in distinct(textures(archive)):
        texture.save(target / f"{name}.png")
        count += 1
    (folder / f"{CATEGORY}.terms.txt").write_text(TERMS, encoding="utf-8")
    return count


def textures(archive: Path) -> Iterator[tuple[str, Image.Image]]:
    """The photographs among the textures, by name, in the order of their names."""
    with zipfile.ZipFile(archive) as files:
        for path in sorted(files.namelist()):
            if (
                not path.startswith(TEXTURES)
                or not path.endswith(".dds")
                or any(part in path for part in NO_PHOTOGRAPH)
            ):
                continue
            with Image.open(io.BytesIO(files.read(path)), formats=["DDS"]) as opened:
                image = opened.convert("RGB")
            if min(image.size) < SMALLEST or np.asarray(image.convert("L")).std() < FLATTEST:
                continue
            image.thumbnail((LARGEST, LARGEST))
            yield path.removeprefix(TEXTURES).split(".")[0].replace("/", "-"), image


def distinct(found: Iterator[tuple[str, Image.Image]]) -> Iterator[tuple[str, Image.Image]]:
    """Skip what looks like an earlier one."""
    kept: list[NDArray[np.float32]] = []
    for name, image in found:
        thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), dtype=np.float32)
        if all(np.abs(thumbnail - other).mean() >= ALIKE for other in kept):
            kept.append(thumbnail)
            yield name, image


if __name__ == "__main__":
    main()
