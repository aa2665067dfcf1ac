"""Open DICOM (file, folder, zip, DICOMDIR), NIfTI, MetaImage and NRRD in napari, with their geometry."""

from __future__ import annotations

import os
import zipfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat

from moeclip_med.results.formats import as_acquired
from napari_moeclip import answers, messages
from napari_moeclip.layers import image_layer_data
from napari_moeclip.volumes import SharedVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moeclip_transforms import Series

    LayerData = tuple[Any, dict[str, Any], str]
    ReaderFunction = Callable[[str | list[str]], list[LayerData]]

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")
_KNOWN_SUFFIXES = _DICOM_SUFFIXES + _VOLUME_SUFFIXES
_DICOM_MAGIC = b"DICM"
_DICOM_MAGIC_AT = 128
_LOOK_AT = 40


def get_reader(path: str | list[str]) -> ReaderFunction | None:
    """Return the reader of a path, or None where it is nothing for this plugin.

    Looks at names and at a few first bytes, so that it never delays the opening of other files.
    """
    paths = [path] if isinstance(path, str) else path
    if not paths or not all(_is_known(Path(one)) for one in paths):
        return None
    return read


def read(path: str | list[str]) -> list[LayerData]:
    """Read a path, or several, as napari layers.

    Where a path holds several series, or several time points, the user is asked which to open; without a graphical
    interface all series are opened at their first time point.

    Raises:
        InputError: When nothing in it can be read; in a viewer this is a notification.
    """
    from napari_moeclip.waiting import or_say

    paths = [path] if isinstance(path, str) else path
    return or_say(lambda: _read(paths))


def _read(paths: list[str]) -> list[LayerData]:
    from napari_moeclip.navigation import prepare_current_viewer
    from napari_moeclip.waiting import NO_LAYER, Asker

    prepare_current_viewer()
    layers: list[LayerData] = []
    with Asker(f"Reading {Path(paths[0]).name} …") as asker:
        for one in (str(as_acquired(Path(path))) for path in paths):
            scan = asker.ask(messages.ScanRequest(one))
            for series, time_point in asker.choose(series_to_open(one, scan)):
                reference = asker.ask(messages.ReadRequest(one, series.uid, time_point))
                volume = SharedVolume(reference, owns=True)
                role = "scores" if series.skip_reason else "image"
                layers.append(image_layer_data(volume, layer_name(series, one, time_point), role))
    return layers or NO_LAYER


def series_to_open(path: str, scan: answers.Scan) -> list[Series]:
    """Return the series of a path that are images.

    Raises:
        InputError: When there is none.
    """
    wanted = [series for series in scan.series if not series.skip_reason] or _maps(scan)
    if not wanted:
        raise InputError(_nothing_to_read(path, scan))
    return wanted


def layer_name(series: Series, path: str, time_point: int) -> str:
    """Name the layer of a series: what it is, not whose."""
    stem = Path(path).name.removesuffix(".gz").rsplit(".", 1)[0] or Path(path).name
    name = " ".join(part for part in (series.modality, series.description) if part) or stem
    return f"{name}, time {time_point}" if series.shape[3] > 1 else name


def _maps(scan: answers.Scan) -> list[Series]:
    """Maps that were written as NIfTI: nothing to score, but to look at. Those as acquired, which lie on the image."""
    maps = [series for series in scan.series if series.format is FileFormat.NIFTI]
    return [series for series in maps if as_acquired(series.files[0]) == series.files[0]]


def _nothing_to_read(path: str, scan: answers.Scan) -> str:
    reasons = [series.skip_reason for series in scan.series if series.skip_reason] or list(scan.unreadable)
    return f'"{Path(path).name}" holds no image to open: {reasons[0] if reasons else "nothing was found"}.'


def _is_known(path: Path) -> bool:
    if path.is_dir():
        return any(_is_known_file(file, inside_folder=True) for file in islice(_files(path), _LOOK_AT))
    return _is_known_file(path)


def _files(folder: Path) -> Iterator[Path]:
    """List files of a folder and of the folders in it, first those at the top; never a whole tree."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(Path(entry.path))
            else:
                yield Path(entry.path)
    for inner in islice(sorted(folders), _LOOK_AT):
        yield from islice(_files(inner), 2)


def _is_known_file(path: Path, *, inside_folder: bool = False) -> bool:
    name = path.name.lower()
    if name == "dicomdir" or name.endswith(_KNOWN_SUFFIXES):
        return True
    if name.endswith(".zip"):
        return not inside_folder and _holds_known(path)
    return (not path.suffix or path.suffix[1:].isdigit()) and _has_dicom_magic(path)


def _holds_known(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [item for item in opened.infolist()[:_LOOK_AT] if not item.is_dir()]
            if any(Path(item.filename).name.lower().endswith(_KNOWN_SUFFIXES) for item in members):
                return True
            bare = next((item for item in members if not Path(item.filename).suffix), None)
            if bare is None:
                return False
            with opened.open(bare) as stream:
                return stream.read(_DICOM_MAGIC_AT + 4)[_DICOM_MAGIC_AT:] == _DICOM_MAGIC
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        return False


def _has_dicom_magic(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(_DICOM_MAGIC_AT + 4)[_DICOM_MAGIC_AT:] == _DICOM_MAGIC
    except OSError:
        return False
