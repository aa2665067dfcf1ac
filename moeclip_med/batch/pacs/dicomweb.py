"""A PACS that speaks DICOMweb (PS3.18): what is there (QIDO-RS), fetch it (WADO-RS), store beside it (STOW-RS).

Nothing that it says is believed before it is checked: identifiers, counts, pages, sizes, whose instances came.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from moeclip_transforms.errors import InputError

from moeclip_med.batch.pacs.http import (
    Connection,
    IncompleteError,
    PacsAddress,
    PacsError,
    PacsGoneError,
    PacsUnreachableError,
)
from moeclip_med.batch.pacs.multipart import boundary_of, save_parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydicom import Dataset
    from requests import Response

__all__ = ["FoundStudies", "PacsAddress", "PacsError", "PacsGoneError", "PacsServer", "PacsUnreachableError",
           "RemoteSeries"]  # fmt: skip

PAGE = 500
"""Items asked for at a time."""
_SMALLEST_CAP = 50
"""No server is known to give fewer items at a time without saying so."""
MOST_ITEMS = 100_000
"""No list is read further."""
_MOST_INSTANCES = 1_000_000
_UID = re.compile(r"[0-9A-Za-z]+(?:[._-][0-9A-Za-z]+)*")
_LONGEST_UID = 64
_BOUNDARY = "moeclip-med-0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"
_CONFLICT = 409


@dataclass(frozen=True)
class RemoteSeries:
    """A series as the PACS lists it.

    Attributes:
        study_uid: StudyInstanceUID.
        uid: SeriesInstanceUID.
        modality: Modality, or "".
        manufacturer: Manufacturer, or "" where the PACS does not tell.
        instances: Number of instances, 0 where the PACS does not tell.
    """

    study_uid: str
    uid: str
    modality: str
    manufacturer: str
    instances: int


@dataclass(frozen=True)
class FoundStudies:
    """What a query for studies found.

    Attributes:
        uids: StudyInstanceUIDs, each once.
        notices: What has to be known about the list: items without a UID, a server that gives no more of it.
    """

    uids: tuple[str, ...]
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Listed:
    """The items of a list, by UID, and what has to be known about it."""

    items: dict[str, dict[str, Any]]
    notices: tuple[str, ...]


class PacsServer:
    """A PACS. Every request is tried again with growing pauses while the trouble may pass."""

    def __init__(self, address: PacsAddress) -> None:
        """Make the connection; nothing is sent yet.

        Raises:
            MissingExtraError: If `requests` is not installed.
            InputError: If a certificate is missing.
        """
        self.address = address
        self._connection = Connection(address)

    def find_studies(self, filters: dict[str, str]) -> FoundStudies:
        """Find the studies that match, to the end of the list.

        Raises:
            PacsError: If the PACS cannot be reached, refuses, or answers what is no list.
        """
        listed = self._list("studies", {**filters, "includefield": "00201208"}, "0020000D", "the list of studies")
        return FoundStudies(tuple(listed.items), listed.notices)

    def find_series(self, study_uid: str) -> list[RemoteSeries]:
        """List the series of a study.

        Raises:
            PacsGoneError: If there is no such study.
            PacsError: If an item belongs to another study, besides the reasons of every request.
        """
        path = f"studies/{_part(study_uid)}/series"
        listed = self._list(
            path, {"includefield": "00080070,00201209,00080060"}, "0020000E", "the list of series", is_short=True
        )
        if not listed.items and listed.notices:
            raise PacsError(f"{self.address.url}: {listed.notices[0]}")
        if not listed.items:
            raise PacsGoneError(f"{self.address.url} holds no study {study_uid}; check the StudyInstanceUID")
        if any(_value(item, "0020000D") not in {"", study_uid} for item in listed.items.values()):
            raise PacsError(
                f"{self.address.url} lists series of another study when asked for those of one; nothing is fetched"
            )
        return [
            RemoteSeries(
                study_uid, uid, _value(item, "00080060"), _value(item, "00080070"), _count(_value(item, "00201209"))
            )
            for uid, item in listed.items.items()
        ]

    def fetch(self, series: RemoteSeries, folder: Path) -> tuple[str, ...]:
        """Fetch every instance of a series, in the encoding it is stored in, into a folder of its own.

        Returns:
            The SOPInstanceUIDs that came, sorted.

        Raises:
            PacsError: If fewer arrive than the PACS has, or others than were asked for, besides the reasons of every
                request.
            InputError: If the disk is full.
        """
        path = f"studies/{_part(series.study_uid)}/series/{_part(series.uid)}"

        def fetch_all() -> tuple[str, ...]:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
            headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
            with self._connection.request("GET", path, "a series", headers=headers) as response:
                self._connection.check_status(response, "a series")
                received = {self._identity(part, series): part for part in self._parts(response, folder)}
            if len(received) < series.instances:
                raise IncompleteError(f"only {len(received)} of {series.instances} instances came")
            return tuple(sorted(received))

        try:
            return self._connection.ask("a series", fetch_all)
        except OSError as error:
            raise InputError(
                f'"{folder}": what the PACS sends cannot be kept ({error.strerror or error}); free space there'
            ) from error

    def _parts(self, response: Response, folder: Path) -> Iterator[Path]:
        content_type = response.headers.get("Content-Type", "")
        pieces = self._connection.pieces(response, self.address.limits.series_bytes, "a series")
        boundary = boundary_of(content_type)
        if boundary is not None:
            yield from save_parts(pieces, boundary, folder)
        elif content_type.partition(";")[0].strip().lower() == "application/dicom":  # one instance without its frame
            path = folder / "000000.dcm"
            with path.open("xb") as sink:
                sink.writelines(pieces)
            yield path
        else:
            raise IncompleteError("what came is no multipart message")

    def _identity(self, path: Path, series: RemoteSeries) -> str:
        """The SOPInstanceUID of an instance that came; one that cannot be read counts, and is listed by its reader.

        Raises:
            PacsError: If it belongs to another study or series.
        """
        from moeclip_transforms.dicom_header import read_header, text

        keywords = ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
        try:
            header = read_header(path, keywords=keywords, force=True)
            instance, study, uid = (text(header, keyword) for keyword in keywords)
        except InputError:
            return path.name
        if (study, uid) != (series.study_uid, series.uid):
            raise PacsError(
                f"{self.address.url} sends instances of another study or series than was asked for; none is used"
            )
        return instance or path.name

    def holds(self, study_uid: str, instance_uid: str) -> bool:
        """Whether a study holds an instance already."""
        path = f"studies/{_part(study_uid)}/instances"
        try:
            found, _ = self._connection.json(path, {"SOPInstanceUID": instance_uid, "limit": "1"}, "one instance")
        except PacsGoneError:
            return False
        return any(_value(item, "00080018") == instance_uid for item in found)

    def store(self, dataset: Dataset) -> bool:
        """Store an instance unless it is there already; returns whether it was sent.

        After a failed try the PACS is asked first: the answer may have been lost after the instance had arrived. It is
        sent to this server alone; a redirect is refused.

        Raises:
            PacsError: If the PACS refuses it, besides the reasons of every request.
        """
        study_uid, instance_uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
        body = _multipart(dataset)
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
        }

        def store_once() -> bool:
            if self.holds(study_uid, instance_uid):
                return False
            path = f"studies/{_part(study_uid)}"
            what, connection = "to store a result", self._connection
            with connection.request("POST", path, what, headers=headers, body=body) as response:
                content = b"".join(connection.pieces(response, self.address.limits.json_bytes, what))
                if response.status_code != _CONFLICT:
                    connection.check_status(response, what)
            stored, reason = _store_answer(content, instance_uid)
            if not stored and (reason or not self.holds(study_uid, instance_uid)):
                raise PacsError(
                    f"{self.address.url} did not store a result ({reason or 'no confirmation'}); look at its log"
                )
            return True

        return self._connection.ask("to store a result", store_once)

    def _list(self, path: str, parameters: dict[str, str], tag: str, what: str, *, is_short: bool = False) -> _Listed:
        """Read a list page by page, until a page holds nothing new: servers cap pages, repeat them, or never end.

        Args:
            path: Below the base.
            parameters: Of the query.
            tag: The UID that tells items apart.
            what: What is asked for, in words.
            is_short: Whether a first page of a few items is believed to be all: that spares a request.
        """
        items: dict[str, dict[str, Any]] = {}
        notices: dict[str, None] = {}
        asked = 0
        while True:
            asked += 1
            page = {**parameters, "limit": str(PAGE), "offset": str(len(items))}
            found, warning = self._connection.json(path, page, what)
            before, unusable = len(items), 0
            for item in found:
                uid = _value(item, tag)
                if is_uid(uid):
                    items.setdefault(uid, item)
                else:
                    unusable += 1
            if unusable:
                notices[f"{what} has {unusable} items without a usable UID; they are skipped"] = None
            is_at_end = not found or len(items) == before
            if is_short and len(found) < _SMALLEST_CAP and not warning:
                return _Listed(items, tuple(notices))
            if found and is_at_end and before and (warning or len(found) >= PAGE) and asked > 1:
                told = f' and says "{warning}"' if warning else ""
                notices[
                    f"the PACS gives {before} items of {what}{told}, and the same ones again: there may be more"
                ] = None
            if is_at_end:
                return _Listed(items, tuple(notices))
            if len(items) >= MOST_ITEMS:
                notices[f"{what} does not end after {len(items)} items; the rest is skipped"] = None
                return _Listed(items, tuple(notices))


def is_uid(text: str) -> bool:
    """Whether a text can be an identifier: no empty one, and none that is a path.

    More than PS3.5, 9.1 allows is taken, since archives hold letters in UIDs.
    """
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def _part(uid: str) -> str:
    """A UID as a part of an address.

    Raises:
        PacsError: If it is no UID: "..", for example, would name another place.
    """
    if not is_uid(uid):
        raise PacsError(f"{uid!r} is no UID; expected digits and dots, at most {_LONGEST_UID}")
    return quote(uid, safe="")


def _value(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18, annex F), "" where missing."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    value = values[0] if isinstance(values, list) and values else None
    if isinstance(value, float):  # a whole number as some servers write it; NaN and infinities are none
        return f"{value:.12g}" if math.isfinite(value) else ""
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _count(text: str) -> int:
    """A number of instances, 0 for what is none."""
    return int(text) if re.fullmatch(r"\d{1,7}", text) and int(text) <= _MOST_INSTANCES else 0


def _multipart(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    head = f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return head + content.getvalue() + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _store_answer(content: bytes, instance_uid: str) -> tuple[bool, str]:
    """Whether an answer to a store (PS3.18, 10.5.3) confirms an instance, and why it failed if it says so."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return False, ""
    answer = answer[0] if isinstance(answer, list) and answer else answer
    if not isinstance(answer, dict):
        return False, ""
    if any(_value(item, "00081155") == instance_uid for item in _sequence(answer, "00081199")):
        return True, ""
    reasons = [_value(item, "00081197") for item in _sequence(answer, "00081198")]
    return False, f"failure reason {int(reasons[0]):#06x}" if reasons and reasons[0].isdecimal() else "".join(
        reasons[:1]
    )


def _sequence(item: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
