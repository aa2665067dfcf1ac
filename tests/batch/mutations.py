"""Damage done to real files, drawn by Hypothesis: what discs, networks, converters and attackers do to images.

Each mutation is a pure function of the drawn values, so that a failing example can be made again and shrunk.
"""

from __future__ import annotations

import atexit
import gzip
import io
import shutil
import struct
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from hypothesis import strategies as st
from PIL import Image

LARGEST_SEED = 400_000
"""Bytes; larger files say no more and take longer."""

KINDS = ("bit flips", "truncation", "wrong lengths", "swapped tags", "contradictory geometry", "huge declared sizes")
OTHER_FORMATS = "MetaImage, NRRD, PNG, TIFF, JPEG, zip, tar"
"""A kind of its own: files of a few voxels, their bytes flipped or cut, their text headers rewritten."""
_HEADER_LINES: tuple[tuple[bytes, bytes], ...] = (
    (b"NDims = 3", b"NDims = -1"), (b"NDims = 3", b"NDims = 100000"), (b"DimSize = 5 4 3", b"DimSize = 99999 99999 9"),
    (b"ElementDataFile = LOCAL", b"ElementDataFile = %n%n%s%s%s.raw 1 3 1"),
    (b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd"), (b"Offset = 0 0 0", b"Offset = nan 1e308 -inf"),
    (b"TransformMatrix = 1 0 0", b"TransformMatrix = 1e308 0 0"),
    (b"ElementSpacing = 1 1 1", b"ElementSpacing = 0 -1 nan"),
    (b"ElementType = MET_SHORT", b"ElementType = MET_LONG_LONG_ARRAY"),
    (b"CompressedData = True", b"CompressedData = maybe"), (b"sizes: 5 4 3", b"sizes: 99999 99999 99999"),
    (b"sizes: 5 4 3", b"sizes: -5 4 3"), (b"dimension: 3", b"dimension: 99"), (b"encoding: raw", b"encoding: hex"),
    (b"encoding: gzip", b"encoding: bzip2"), (b"type: short", b"type: block"),
    (b"space directions: (1,0,0)", b"space directions: (0,0,0)"), (b"endian: little", b"data file: -"),
)  # fmt: skip
_LENGTHS = (0, 1, 3, 0x7FFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_GEOMETRY: tuple[tuple[str, Any], ...] = (
    ("PixelSpacing", ["0", "0"]), ("PixelSpacing", ["-1", "1"]), ("PixelSpacing", ["nan", "1"]),
    ("PixelSpacing", ["1e38", "1e-38"]), ("PixelSpacing", None), ("ImageOrientationPatient", ["0"] * 6),
    ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]), ("ImageOrientationPatient", ["1", "0", "0"]),
    ("ImageOrientationPatient", ["inf", "0", "0", "0", "1", "0"]), ("ImageOrientationPatient", None),
    ("ImagePositionPatient", ["nan", "0", "0"]), ("ImagePositionPatient", ["1e300", "0", "0"]),
    ("ImagePositionPatient", None), ("SliceThickness", "-5"), ("BitsAllocated", 7), ("BitsAllocated", 64),
    ("BitsStored", 17), ("HighBit", 255), ("SamplesPerPixel", 0), ("SamplesPerPixel", 2), ("PixelRepresentation", 7),
    ("PhotometricInterpretation", "PURPLE"), ("PhotometricInterpretation", None), ("PlanarConfiguration", 9),
    ("RescaleSlope", "0"), ("RescaleSlope", "nan"), ("RescaleIntercept", "1e308"), ("NumberOfFrames", "0"),
    ("NumberOfFrames", "-3"), ("Rows", 0), ("Rows", 1), ("Columns", 0), ("Columns", 3), ("PixelData", b""),
    ("SeriesInstanceUID", "../../../etc"), ("StudyInstanceUID", "/"), ("SOPInstanceUID", ""), ("Modality", "\x00"),
)  # fmt: skip
_HUGE: tuple[tuple[str, Any], ...] = (
    ("Rows", 65535), ("Columns", 65535), ("NumberOfFrames", "2147483647"), ("NumberOfFrames", "99999"),
    ("NumberOfFrames", "1000"), ("SamplesPerPixel", 65535),
)  # fmt: skip
_NIFTI_GEOMETRY: tuple[tuple[int, str, float], ...] = (
    (80, "f", 0.0), (80, "f", -2.0), (84, "f", float("nan")), (88, "f", 1e38), (76, "f", 0.0), (252, "h", -7),
    (254, "h", 99), (280, "f", float("inf")), (284, "f", 0.0), (296, "f", 0.0), (112, "f", float("nan")),
    (112, "f", 0.0), (116, "f", 1e38), (70, "h", 0), (70, "h", 1792), (72, "h", 3), (108, "f", -1.0), (108, "f", 1e30),
    (344, "i", 0), (40, "h", 0), (40, "h", 99), (42, "h", 0), (44, "h", -1), (46, "h", 1), (123, "B", 255),
)  # fmt: skip
_NIFTI_HUGE: tuple[tuple[int, str, float], ...] = (
    (42, "h", 32767), (44, "h", 32767), (46, "h", 32767), (48, "h", 32767), (40, "h", 7),
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One damaged file.

    Attributes:
        seed: The real file.
        kind: What was done.
        content: What came of it.
        name: A name with the seed's suffix.
    """

    seed: Path
    kind: str
    content: bytes
    name: str


def real_files() -> dict[str, list[Path]]:
    """Every file of pydicom, pydicom-data and nibabel's test data that is installed."""
    import nibabel
    import pydicom.data

    sources = {
        "pydicom": Path(pydicom.data.__file__).parent,
        "nibabel": Path(nibabel.__file__).parent / "tests" / "data",
    }
    try:
        import data_store
    except ImportError:
        pass
    else:
        sources["pydicom-data"] = Path(data_store.__file__).parent
    return {
        name: sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"})
        for name, folder in sources.items()
    }


@cache
def seeds() -> list[Path]:
    """The real images that are small enough to mutate."""
    found = [path for paths in real_files().values() for path in paths if 0 < path.stat().st_size <= LARGEST_SEED]
    return [path for path in found if is_dicom(path) or path.name.endswith((".nii", ".nii.gz"))]


@cache
def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@cache
def made_files() -> list[Path]:
    """A small file of each format that the collections lack; they lie in a folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    image = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    for suffix in (".mha", ".nrrd"):
        for packed in (False, True):
            SimpleITK.WriteImage(
                image, str(folder / f"made{'-packed' if packed else ''}{suffix}"), useCompression=packed
            )
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    for suffix in (".png", ".tif", ".jpg"):
        picture.save(folder / f"made{suffix}")
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "made.png", "a/made.png")
        archive.write(folder / "made.mha", "made.mha")
    with tarfile.open(folder / "made.tar.gz", "w:gz") as archive:
        archive.add(folder / "made.nrrd", "made.nrrd")
    return sorted(folder.iterdir())


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """Draw a real file and damage it."""
    if draw(st.integers(0, 5)) == 0:
        made = draw(st.sampled_from(made_files()))
        return Mutation(made, OTHER_FORMATS, _damage_made(draw, made.read_bytes()), f"damaged{''.join(made.suffixes)}")
    wants_dicom = draw(st.sampled_from([True, True, True, False]))
    seed = draw(st.sampled_from([path for path in seeds() if is_dicom(path) == wants_dicom]))
    kind = draw(st.sampled_from(KINDS))
    content = seed.read_bytes()
    damage = _damage_dicom if is_dicom(seed) else _damage_nifti
    content = damage(draw, content, kind)
    suffix = ".nii.gz" if seed.name.endswith(".nii.gz") else seed.suffix
    return Mutation(seed, kind, content, f"damaged{suffix}")


def _damage_anything(draw: st.DrawFn, content: bytes, kind: str) -> bytes:
    damaged = bytearray(content)
    if kind == "truncation":
        return bytes(damaged[: draw(st.integers(0, len(damaged) - 1))])
    where = st.one_of(st.integers(0, len(damaged) - 1), st.integers(0, min(len(damaged) - 1, 2000)))
    for position in draw(st.lists(where, min_size=1, max_size=24)):
        damaged[position] ^= 1 << draw(st.integers(0, 7))
    return bytes(damaged)


def _damage_made(draw: st.DrawFn, content: bytes) -> bytes:
    lines = [(old, new) for old, new in _HEADER_LINES if old in content]
    if lines and draw(st.booleans()):
        for old, new in draw(st.lists(st.sampled_from(lines), min_size=1, max_size=3)):
            content = content.replace(old, new, 1)
        return content
    return _damage_anything(draw, content, draw(st.sampled_from(["bit flips", "truncation"])))


def _damage_dicom(draw: st.DrawFn, content: bytes, kind: str) -> bytes:
    elements = _value_offsets(content) if kind in {"wrong lengths", "swapped tags"} else []
    if kind == "wrong lengths" and elements:
        return _with_wrong_length(draw, content, elements)
    if kind == "swapped tags" and len(elements) > 1:
        first, second = draw(st.lists(st.sampled_from(elements), min_size=2, max_size=2, unique=True))
        damaged = bytearray(content)
        damaged[first - 8 : first - 4], damaged[second - 8 : second - 4] = (
            content[second - 8 : second - 4], content[first - 8 : first - 4],
        )  # fmt: skip
        return bytes(damaged)
    if kind in {"contradictory geometry", "huge declared sizes"}:
        changes = _GEOMETRY if kind == "contradictory geometry" else _HUGE
        return _with_values(content, draw(st.lists(st.sampled_from(changes), min_size=1, max_size=3)))
    return _damage_anything(draw, content, kind)


def _value_offsets(content: bytes) -> list[int]:
    """Where the values of top-level elements start."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True, defer_size=None)
    except Exception:  # noqa: BLE001 - some of pydicom's test files are meant to be unreadable
        return []
    elements = (dataset.get_item(tag) for tag in list(dataset.keys()))
    tells = (getattr(element, "value_tell", None) or getattr(element, "file_tell", None) for element in elements)
    return sorted({tell for tell in tells if tell and 140 < tell < len(content)})


def _with_wrong_length(draw: st.DrawFn, content: bytes, elements: list[int]) -> bytes:
    damaged = bytearray(content)
    for position in draw(st.lists(st.sampled_from(elements), min_size=1, max_size=3)):
        length = draw(st.one_of(st.sampled_from(_LENGTHS), st.integers(0, 2**32 - 1)))
        if draw(st.booleans()):
            damaged[position - 2 : position] = struct.pack("<H", length & 0xFFFF)
        else:
            damaged[position - 4 : position] = struct.pack("<I", length)
    return bytes(damaged)


def _with_values(content: bytes, changes: list[tuple[str, Any]]) -> bytes:
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        for keyword, value in changes:
            if value is None:
                dataset.pop(keyword, None)
            elif keyword == "PixelData":
                dataset.PixelData = value
            else:
                element = pydicom.DataElement(pydicom.datadict.tag_for_keyword(keyword),
                                              pydicom.datadict.dictionary_VR(keyword).split(" ")[0], None,
                                              validation_mode=pydicom.config.IGNORE)  # fmt: skip
                element._value = value
                dataset[keyword] = element
        written = io.BytesIO()
        dataset.save_as(written, enforce_file_format=False)
        return written.getvalue()
    except Exception:  # noqa: BLE001 - a value that cannot be written leaves the file as it was
        return content


def _damage_nifti(draw: st.DrawFn, content: bytes, kind: str) -> bytes:
    packed = content[:2] == b"\x1f\x8b"
    if packed and kind not in {"bit flips", "truncation"}:
        content = gzip.decompress(content)
    if kind in {"bit flips", "truncation"}:
        return _damage_anything(draw, content, kind)
    if kind in {"contradictory geometry", "huge declared sizes"}:
        fields = _NIFTI_GEOMETRY if kind == "contradictory geometry" else _NIFTI_HUGE
        changes = draw(st.lists(st.sampled_from(fields), min_size=1, max_size=4))
        damaged = bytearray(content)
        order = "<" if content[:4] == b"\x5c\x01\x00\x00" else ">"
        for offset, code, value in changes:
            if offset + 8 < len(damaged):
                struct.pack_into(order + code, damaged, offset, int(value) if code in "hiB" else value)
        content = bytes(damaged)
    else:
        content = _damage_anything(draw, content, "bit flips")
    return gzip.compress(content, 1) if packed else content
