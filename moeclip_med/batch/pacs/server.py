"""A PACS that speaks DICOMweb (PS3.18): what is there (QIDO-RS), fetch it (WADO-RS), store beside it (STOW-RS)."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path  # noqa: TC003 - part of a public dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from moeclip_transforms.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydicom import Dataset

    Answer = TypeVar("Answer")

_TIMEOUT_SECONDS = (10.0, 120.0)
"""To connect, and between two pieces of an answer."""

_UNAUTHORISED = {401, 403}
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}
_NOT_FOUND = 404


class PacsError(InputError):
    """The PACS cannot be reached, refuses, or answers what cannot be understood."""


class PacsUnreachableError(PacsError):
    """The PACS did not answer after several tries: later it may."""


@dataclass(frozen=True)
class PacsAddress:
    """Where the PACS is and how to be let in.

    Attributes:
        url: Base of its DICOMweb services, such as `https://pacs.example/dicom-web`.
        user: User name for basic authentication, or "".
        password: Its password.
        token: Bearer token, or "".
        ca_bundle: Certificates of the authority that signed the server's, if not a public one.
        client_certificate: Our certificate with its key (PEM), where the server asks for one.
        attempts: How often a request is tried.
        first_wait: Before the second try, s; doubled for each further one.
    """

    url: str
    user: str = ""
    password: str = ""
    token: str = ""
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    attempts: int = 5
    first_wait: float = 1.0


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


class PacsServer:
    """A connection to a PACS. Every request is tried again with growing pauses while the trouble may pass."""

    def __init__(self, address: PacsAddress) -> None:
        """Make the connection; nothing is sent yet.

        Raises:
            MissingExtraError: If `dicomweb-client` is not installed.
            InputError: If the address is malformed or a certificate is missing.
        """
        try:
            from dicomweb_client import DICOMwebClient
            from dicomweb_client.session_utils import add_certs_to_session

            from moeclip_med.batch.pacs.session import Session
        except ImportError as error:
            raise MissingExtraError(package="dicomweb-client", extra="pacs", purpose="reading from a PACS") from error
        self.address = address
        session = Session()
        if address.user:
            session.auth = (address.user, address.password)
        headers = {"Authorization": f"Bearer {address.token}"} if address.token else None
        try:
            add_certs_to_session(session, _text(address.ca_bundle), _text(address.client_certificate))
            self._client = DICOMwebClient(
                address.url, session, headers=headers, timeout=_TIMEOUT_SECONDS, permissive_uid=True
            )
        except OSError as error:
            msg = f"--ca-bundle or --client-certificate: {error}; check the path"
            raise InputError(msg) from error
        except (ValueError, AttributeError) as error:
            msg = f'--url "{address.url}" is not an address; write e.g. "https://pacs.example/dicom-web"'
            raise InputError(msg) from error
        self._client.set_http_retry_params(retry=False)  # a whole answer is tried again here, not a single request

    def find_studies(self, filters: dict[str, str], limit: int = 1000) -> list[tuple[str, int]]:
        """Give StudyInstanceUID and number of instances (0 where not told) of the studies that match."""
        found: list[tuple[str, int]] = []
        while True:
            page = self._json(
                "the list of studies",
                partial(
                    self._client.search_for_studies,
                    search_filters=filters,
                    limit=limit,
                    offset=len(found),
                    fields=["NumberOfStudyRelatedInstances"],
                ),
            )
            found += [(_value(item, "0020000D"), int(_value(item, "00201208") or 0)) for item in page]
            if len(page) < limit:
                return found

    def find_series(self, study_uid: str) -> list[RemoteSeries]:
        """List the series of a study.

        Raises:
            PacsError: If there is no such study, besides the reasons of every request.
        """
        items = self._json(
            "the list of series",
            lambda: self._client.search_for_series(
                study_uid, fields=["Manufacturer", "NumberOfSeriesRelatedInstances", "Modality"]
            ),
        )
        if not items:
            msg = f"{self.address.url} holds no study {study_uid}; check the StudyInstanceUID"
            raise PacsError(msg)
        return [
            RemoteSeries(
                study_uid,
                _value(item, "0020000E"),
                _value(item, "00080060"),
                _value(item, "00080070"),
                int(_value(item, "00201209") or 0),
            )
            for item in items
        ]

    def fetch(self, series: RemoteSeries, folder: Path) -> int:
        """Fetch every instance of a series, in the encoding it is stored in, into a folder; gives how many.

        Raises:
            PacsError: If fewer arrive than the PACS has, besides the reasons of every request.
        """

        def fetch_all() -> int:
            received: set[str] = set()
            for dataset in self._client.iter_series(
                series.study_uid, series.uid, media_types=(("application/dicom", "*"),)
            ):
                number = f"{len(received):06d}.dcm"  # a UID from outside never becomes a path
                received.add(str(dataset.SOPInstanceUID))
                dataset.save_as(folder / number, enforce_file_format=True)
            if len(received) < series.instances:
                msg = f"only {len(received)} of {series.instances} instances came"
                raise _IncompleteError(msg)
            return len(received)

        folder.mkdir(parents=True, exist_ok=True)
        return self._ask("a series", fetch_all)

    def holds(self, study_uid: str, instance_uid: str) -> bool:
        """Whether a study holds an instance already."""
        filters = {"SOPInstanceUID": instance_uid, "StudyInstanceUID": study_uid}
        found = self._json("one instance", lambda: self._client.search_for_instances(search_filters=filters, limit=1))
        return any(_value(item, "00080018") == instance_uid for item in found)

    def store(self, dataset: Dataset) -> bool:
        """Store an instance unless it is there already; gives whether it was sent.

        After a failed try the PACS is asked first: the answer may have been lost after the instance had arrived.

        Raises:
            PacsError: If the PACS refuses it, besides the reasons of every request.
        """
        study_uid, instance_uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)

        def store_once() -> bool:
            if self.holds(study_uid, instance_uid):
                return False
            answer = self._client.store_instances([dataset], study_uid)
            if not any(
                item.ReferencedSOPInstanceUID == instance_uid for item in answer.get("ReferencedSOPSequence", [])
            ):
                failed = answer.get("FailedSOPSequence", [])
                reason = f"failure reason {failed[0].FailureReason:#06x}" if failed else "no confirmation"
                msg = f"{self.address.url} did not store a result ({reason}); look at the log of the PACS"
                raise PacsError(msg)
            return True

        return self._ask("to store a result", store_once)

    def _json(self, what: str, request: Callable[[], Any]) -> list[dict[str, Any]]:
        answer = self._ask(what, request)
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            msg = f"{self.address.url} answers what is not DICOM JSON when asked for {what}; check --url"
            raise PacsError(msg)
        return answer

    def _ask(self, what: str, request: Callable[[], Answer]) -> Answer:
        """Send a request, again while the trouble may pass."""
        wait = self.address.first_wait
        for attempt in range(1, self.address.attempts + 1):
            try:
                with self._explained(what):
                    return request()
            except PacsUnreachableError as error:
                if attempt == self.address.attempts:
                    msg = f"{error} ({attempt} tries); check that it runs and try again later"
                    raise PacsUnreachableError(msg) from error
                time.sleep(wait)
                wait *= 2
        msg = "attempts is at least 1"
        raise ValueError(msg)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what HTTP libraries raise into one sentence; tell passing trouble from lasting."""
        import requests
        from pydicom.errors import InvalidDicomError

        url = self.address.url
        try:
            yield
        except PacsError:
            raise
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            _raise_for_status(url, what, status, error)
        except requests.exceptions.SSLError as error:
            msg = f"{url} has a certificate that is not trusted; name the authority's with --ca-bundle"
            raise PacsError(msg) from error
        except (requests.RequestException, _IncompleteError, OSError) as error:
            if isinstance(error, requests.exceptions.JSONDecodeError):
                msg = f"{url} answers what is not DICOM JSON when asked for {what}; check --url"
                raise PacsError(msg) from error
            reason = str(error) if isinstance(error, _IncompleteError) else type(error).__name__
            msg = f"{url} cannot be reached for {what} ({reason})"
            raise PacsUnreachableError(msg) from error
        except InvalidDicomError as error:
            msg = f"{url} sends what is no DICOM when asked for {what}"
            raise PacsUnreachableError(msg) from error
        except Exception as error:
            msg = f"{url} answers what cannot be understood when asked for {what} ({type(error).__name__}); check --url"
            raise PacsError(msg) from error


class _IncompleteError(Exception):
    """Fewer instances came than there are."""


def _raise_for_status(url: str, what: str, status: int, error: Exception) -> None:
    if status in _TRY_AGAIN:
        msg = f"{url} answers {status} when asked for {what}"
        raise PacsUnreachableError(msg) from error
    if status in _UNAUTHORISED:
        msg = f"{url} answers {status}: it does not let us in; check user and password, or the token"
    elif status == _NOT_FOUND:
        msg = f"{url} answers 404 when asked for {what}; check --url and the UID"
    else:
        msg = f"{url} answers {status} when asked for {what}; look at the log of the PACS"
    raise PacsError(msg) from error


def _value(item: dict[str, Any], tag: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18, annex F), "" where missing."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
