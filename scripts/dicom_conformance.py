"""Write the DICOM conformance statement from the tables that the program itself works with.

`python scripts/dicom_conformance.py` writes docs/dicom-conformance.md; a test holds the file to these tables.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from moeclip_transforms.dicom_image_type import is_decoded, no_image_reason
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.uid import UID, AllTransferSyntaxes, UID_dictionary

from moeclip_med.results.dicom import common
from moeclip_med.results.dicom.attributes import IMAGE_ATTRIBUTES, SUBJECT_ATTRIBUTES, Attribute, Need
from moeclip_med.results.dicom.identity import CODING_SCHEME, MANUFACTURER
from moeclip_med.results.dicom.objects import OBJECTS
from moeclip_med.results.formats import RESULT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET = Path(__file__).resolve().parent.parent / "docs" / "dicom-conformance.md"

_HEAD = """\
# DICOM conformance statement

In the form of PS3.2. MoECLIP-Med is research software and not a medical device. Tables marked *generated* are written
by `scripts/dicom_conformance.py` from the tables that the program works with.

## 1. Overview

| function | role |
|---|---|
| read images from files, folders, DICOMDIR and archives | file-set reader |
| find and fetch studies (`moeclip-med pacs`) | QIDO-RS and WADO-RS user agent |
| store results (`pacs --store`) | STOW-RS user agent |
| store results (`pacs --c-store`) | Storage SCU |

The program offers no service: it opens no port for DICOM, and it neither prints, queries by C-FIND nor deletes.
"""

_NEWER = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}
"""Names that pydicom does not know yet."""

_CLASSES = """\
*Generated.* Private and unknown classes are read too where they hold rows, columns and pixels. Video (MPEG) is listed
and not decoded."""

_ATTRIBUTES = """\
*Generated.* Everything else in a source header stays there. Values are made valid or omitted, and what was changed is
said in the terminal, in `findings.json`, `run.json` and the report, without the value. Identifiers of patient and study
are never cut to a length."""

_IDENTIFIERS = """\
A unique identifier that is missing or invalid is replaced by one that follows from the source, and said; missing
identifiers of SOP class and instance are taken from the file meta information where it has them. A file without any SOP
class has no DICOM results."""

_CHARACTER_SETS = """\
*Generated.* Read, also with common misspellings; UTF-8 is tried where text does not fit what is declared:"""

_NETWORK = f"""\
## 4. Networking

### 4.1 DICOMweb (PS3.18)

| transaction | use |
|---|---|
| QIDO-RS | studies, and the series and instances of a study, page by page |
| WADO-RS | instances of a series in the transfer syntax in which they are stored |
| STOW-RS | the results of a series, one instance a request |

### 4.2 C-STORE (PS3.4, annex B)

Storage SCU with the calling AE title MOECLIPMED. For each instance one association is opened with one presentation
context: the instance's SOP class and its own transfer syntax, as in section 3. Nothing is transcoded. The statuses
0000, B000, B006 and B007 count as stored.

## 5. Media

File sets are read by their DICOMDIR or file by file; files without preamble and without file meta information are read
too. Results are written as DICOM files (PS3.10) into a folder, without a DICOMDIR.

## 6. Identifiers, codes and equipment

- Identifiers of results are made under the root 2.25 (PS3.5, B.2) from what they name. The series identifier follows
  from source frames, model, settings and the schema of results; the instance identifier from the content as well. The
  same run gives the same identifiers.
- Manufacturer (0008,0070) is "{MANUFACTURER}"; the reader skips such series, so that results are never scored again.
- Private codes have the scheme designator {CODING_SCHEME}.
"""

_SECURITY = """\
## 8. Security

- DICOMweb: HTTPS with the system's certificates or `--ca-bundle`, client certificates, a user with a password, or a
  bearer token; secrets come from files or the environment. Unencrypted HTTP raises a warning.
- C-STORE: no TLS and no user identity. Use it inside a protected network or through a TLS proxy.
- Results hold the attributes of patient and study named in section 3.2, and nothing else of the source. Messages,
  reports and tables hold no value of these attributes. Instances are neither signed nor encrypted.
- De-identification is not offered. A source that states Patient Identity Removed keeps that statement in the results.
- Burned In Annotation is the source's own in pictures made of its pixels.
"""


def statement() -> str:
    """Return the whole document."""
    return "\n".join(
        [
            _HEAD,
            "## 2. Objects read",
            "",
            "### 2.1 SOP classes",
            "",
            _CLASSES,
            "",
            *_bullets(_read_classes()),
            "",
            "### 2.2 Transfer syntaxes",
            "",
            "*Generated*, with the decoders that come with the package.",
            "",
            "| transfer syntax | UID |",
            "|---|---|",
            *(f"| {uid.name} | {uid} |" for uid in _read_syntaxes()),
            "",
            "## 3. Objects written",
            "",
            *_objects(),
            "### 3.2 Attributes taken from the source",
            "",
            _ATTRIBUTES,
            "",
            "| module | attribute | in results | too long |",
            "|---|---|---|---|",
            *map(_attribute, (*SUBJECT_ATTRIBUTES, *IMAGE_ATTRIBUTES)),
            "",
            _IDENTIFIERS,
            "",
            _NETWORK,
            "*Generated:*",
            "",
            "| code | meaning |",
            "|---|---|",
            *(f"| {code.value} | {code.meaning} |" for code in _private_codes()),
            "",
            "## 7. Character sets",
            "",
            _CHARACTER_SETS,
            "",
            ", ".join(f"`{term}`" for term in python_encoding if term) + ".",
            "",
            "Results are written in UTF-8 (`ISO_IR 192`) where a value is not ASCII; else no character set is named.",
            "",
            _SECURITY,
        ]
    )


def _read_classes() -> list[str]:
    """Return the storage classes of images that are not skipped for their class."""
    names = []
    for uid, (name, kind, _, retired, _) in UID_dictionary.items():
        if kind != "SOP Class" or retired or "Image Storage" not in name:
            continue
        header = Dataset()
        header.SOPClassUID, header.Rows = uid, 1
        if not no_image_reason(header, has_pixels=True):
            names.append(f"{name} ({uid})")
    return sorted(names)


def _read_syntaxes() -> list[UID]:
    """Return the transfer syntaxes whose pixels are decoded."""
    return [uid for uid in AllTransferSyntaxes if is_decoded(uid)]


def _objects() -> Iterable[str]:
    yield "### 3.1 Results"
    yield ""
    yield "*Generated.*"
    yield ""
    for fmt, written in OBJECTS.items():
        classes = "; ".join(f"{_NEWER.get(uid, UID(uid).name)} ({uid})" for uid in written.sop_class_uids)
        syntax = UID(written.transfer_syntax_uid)
        yield f"#### {written.name[0].upper()}{written.name[1:]}: `--results {fmt}`, `{RESULT_NAMES[fmt]}`"
        yield ""
        yield written.content
        yield ""
        yield f"- SOP class: {classes}"
        yield f"- Definition: PS3.3, {written.section}"
        yield f"- Transfer syntax: {syntax.name} ({syntax})"
        yield f"- Series: number {written.series_number}, “{written.series_description}”"
        yield f"- Modules: {', '.join(written.modules)}"
        yield ""


def _attribute(attribute: Attribute) -> str:
    presence = "always, perhaps empty" if attribute.need is Need.EMPTY_ALLOWED else "where valid"
    return f"| {attribute.module} | {attribute.keyword} | {presence} | {'cut' if attribute.can_be_cut else 'omitted'} |"


def _private_codes() -> list[common.CodedConcept]:
    codes = [value for value in vars(common).values() if isinstance(value, common.CodedConcept)]
    return [code for code in codes if code.scheme_designator == CODING_SCHEME]


def _bullets(lines: Iterable[str]) -> list[str]:
    """Return a list without repeats."""
    return [f"- {line}" for line, _ in groupby(lines)]


if __name__ == "__main__":
    TARGET.write_text(statement(), encoding="utf-8")
