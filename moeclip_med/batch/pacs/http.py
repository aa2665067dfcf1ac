"""HTTP to a PACS that need not be well behaved: who is asked, how much is read, when it is tried again.

The layer is thin and stands on `requests` and urllib3 alone. `dicomweb-client` holds whole answers in memory, inflates
and re-encodes what it fetches, follows redirects to other hosts and logs warnings where nobody reads them; none of
that can be afforded with a server that is not ours.
"""

from __future__ import annotations

import json
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path  # noqa: TC003 - part of a public dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from moeclip_transforms.errors import InputError, MissingExtraError, NoticeWarning
from moeclip_transforms.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import PreparedRequest, Response

    Answer = TypeVar("Answer")

TIMEOUT_SECONDS = (10.0, 120.0)
"""To connect, and between two pieces of an answer."""
_PIECE_BYTES = 1 << 16
_MOST_REDIRECTS = 3
_LONGEST_WAIT_SECONDS = 60.0
"""Between two tries, whatever the server asks for (Retry-After)."""
_UNAUTHORISED = {401, 403}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_GONE = {404, 410}
_SUCCESS = range(200, 300)


class PacsError(InputError):
    """The PACS refuses, or answers what cannot be understood."""


class PacsGoneError(PacsError):
    """What was asked for is not there, or no longer."""


class PacsUnreachableError(PacsError):
    """There was no whole answer after several tries: later there may be.

    Attributes:
        has_answered: Whether the PACS said anything at all, such as 500: then the trouble may be this request's alone.
        wait: How long it asks to be left alone, s.
    """

    def __init__(self, message: str, *, has_answered: bool, wait: float = 0.0) -> None:
        super().__init__(message)
        self.has_answered = has_answered
        self.wait = wait


@dataclass(frozen=True)
class AnswerLimits:
    """What one answer may hold; nothing beyond is read.

    Attributes:
        json_bytes: Of a list.
        series_bytes: Of all instances of a series.
        seconds: From a request to the last byte of its answer.
        json_seconds: The same, of a list.
    """

    json_bytes: int = 64 * 2**20
    series_bytes: int = 32 * 2**30
    seconds: float = 7200.0
    json_seconds: float = 600.0


@dataclass(frozen=True)
class PacsAddress:
    """Where the PACS is and how to be let in.

    Attributes:
        url: Base of its DICOMweb services, such as `https://pacs.example/dicom-web`. A user and password in it are
            taken out, so that it can be shown.
        user: User name for basic authentication, or "".
        password: Its password.
        token: Bearer token, or "".
        ca_bundle: Certificates of the authority that signed the server's, if not a public one.
        client_certificate: Our certificate with its key (PEM), where the server asks for one.
        attempts: How often a request is tried.
        first_wait: Before the third try, s (the second follows at once); doubled for each further one.
        limits: What an answer may hold.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    attempts: int = 5
    first_wait: float = 1.0
    limits: AnswerLimits = field(default_factory=AnswerLimits)

    def __post_init__(self) -> None:
        """Take user and password out of the address.

        Raises:
            InputError: If the address is malformed, or what lets us in holds characters that end a header.
        """
        try:
            parts = urlsplit(self.url.strip())
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            shown = printable(self.url.rpartition("@")[2])
            raise InputError(f'--url "{shown}" is not an address; write e.g. "https://pacs.example/dicom-web"')
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port is None else f"{host}:{port}"
        object.__setattr__(self, "url", urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")))
        if parts.username and not self.user:
            object.__setattr__(self, "user", unquote(parts.username))
            if parts.password or not self.password:
                object.__setattr__(self, "password", unquote(parts.password or ""))
        if not all(text.isprintable() for text in (self.user, self.password, self.token)):
            raise InputError(
                "user, password or token of the PACS hold a control character; check the file or variable they are in"
            )

    @property
    def is_open_to_listeners(self) -> bool:
        """Whether password or token go over a network in plain text."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and bool(self.user or self.token) and not _is_loopback(parts.hostname or "")


class Connection:
    """Requests to one PACS: never to another host, never without bounds."""

    def __init__(self, address: PacsAddress) -> None:
        """Make the connection; nothing is sent yet.

        Raises:
            MissingExtraError: If `requests` is not installed.
            InputError: If a certificate is missing.

        Warns:
            NoticeWarning: If what lets us in goes over a network in plain text.
        """
        try:
            import requests
        except ImportError as error:
            raise MissingExtraError(package="requests", extra="pacs", purpose="reading from a PACS") from error
        for path in (address.ca_bundle, address.client_certificate):
            if path is not None and not path.is_file():
                raise InputError(f'--ca-bundle or --client-certificate: "{path}" is not a file; check the path')
        if address.is_open_to_listeners:
            msg = (
                f"{address.url} is asked without encryption: others on the network can read password and images; "
                "use https"
            )
            warnings.warn(msg, NoticeWarning, stacklevel=3)
        self.address = address
        from moeclip_med.batch.pacs.deadline import CuttableAdapter

        self._session = requests.Session()
        self._adapter = CuttableAdapter()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, self._adapter)
        self._session.auth = _Authorization(address)  # always there, so that ~/.netrc is never asked
        self._verify = True if address.ca_bundle is None else str(address.ca_bundle)
        if address.client_certificate is not None:
            self._session.cert = str(address.client_certificate)

    @contextmanager
    def request(
        self, method: str, path: str, what: str, *, parameters: dict[str, str] | None = None,
        headers: dict[str, str], body: bytes | None = None, seconds: float | None = None,
    ) -> Iterator[Response]:  # fmt: skip
        """Send a request and give its answer, unread; follows redirects on the same server for GET alone.

        Args:
            method: "GET" or "POST".
            path: Below the base; its parts quoted.
            what: What is asked for, in words.
            parameters: Of the query.
            headers: Of the request.
            body: What is posted.
            seconds: For all of it; those of the limits if None.

        Raises:
            PacsError: If it takes longer, or is sent on elsewhere.
        """
        allowed = self.address.limits.seconds if seconds is None else seconds
        with self._adapter.deadline(allowed) as is_late:
            try:
                with self._sent(method, path, parameters, headers, body) as response:
                    yield response
            except Exception as error:
                if is_late.is_set():
                    raise self._too_slow(what, allowed) from error
                raise
            if is_late.is_set():
                raise self._too_slow(what, allowed)

    def _too_slow(self, what: str, seconds: float) -> PacsUnreachableError:
        msg = f"{self.address.url} takes longer than {seconds:g} s to answer when asked for {what}"
        return PacsUnreachableError(msg, has_answered=True)

    @contextmanager
    def _sent(
        self, method: str, path: str, parameters: dict[str, str] | None, headers: dict[str, str], body: bytes | None
    ) -> Iterator[Response]:
        url: str = f"{self.address.url}/{path}"
        for _ in range(_MOST_REDIRECTS + 1):
            with self._session.request(
                method,
                url,
                params=parameters,
                data=body,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=TIMEOUT_SECONDS,
                verify=self._verify,
                allow_redirects=False,
                stream=True,
            ) as response:
                if not response.is_redirect:
                    yield response
                    return
                url, parameters = urljoin(url, response.headers["Location"]), None
            self._check_redirect(method, url)
        raise PacsError(f"{self.address.url} redirects more than {_MOST_REDIRECTS} times; check --url")

    def json(self, path: str, parameters: dict[str, str], what: str) -> tuple[list[dict[str, Any]], str]:
        """Ask for a list in DICOM JSON (PS3.18, annex F); returns it and the header Warning, "" without.

        Raises:
            PacsError: If it is none, or too long; besides the reasons of every request.
        """

        def ask() -> tuple[bytes, str]:
            headers = {"Accept": "application/dicom+json, application/json"}
            seconds = self.address.limits.json_seconds
            with self.request("GET", path, what, parameters=parameters, headers=headers, seconds=seconds) as response:
                self.check_status(response, what)
                return b"".join(self.pieces(response, self.address.limits.json_bytes, what)), _warning(response)

        content, warning = self.ask(what, ask)
        try:
            answer = json.loads(content) if content.strip() else []
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict):  # some servers send a single item without its list
            answer = [answer]
        if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
            raise PacsError(f"{self.address.url} answers what is not DICOM JSON when asked for {what}; check --url")
        return answer, warning

    def pieces(self, response: Response, most_bytes: int, what: str) -> Iterator[bytes]:
        """Read an answer piece by piece.

        Raises:
            PacsError: If it is longer than allowed.
        """
        read = 0
        for piece in response.iter_content(_PIECE_BYTES):
            read += len(piece)
            if read > most_bytes:
                raise PacsError(f"{self.address.url} sends more than {most_bytes / 2**20:g} MiB when asked for {what}")
            yield piece

    def ask(self, what: str, request: Callable[[], Answer]) -> Answer:
        """Send a request, again with growing pauses while the trouble may pass.

        A whole answer is tried again, not a connection: urllib3's adapter would not see one that is cut off.
        """
        from urllib3.exceptions import MaxRetryError
        from urllib3.util.retry import Retry

        wait = self.address.first_wait
        retry = Retry(self.address.attempts - 1, backoff_factor=wait, backoff_max=_LONGEST_WAIT_SECONDS)
        while True:
            try:
                with self._explained(what):
                    return request()
            except PacsUnreachableError as error:
                try:
                    retry = retry.increment(error=error)
                except MaxRetryError:
                    raise PacsUnreachableError(
                        f"{error} ({self.address.attempts} tries); check that it runs and try again later",
                        has_answered=error.has_answered,
                    ) from error
                time.sleep(max(retry.get_backoff_time(), min(error.wait, _LONGEST_WAIT_SECONDS)))

    def check_status(self, response: Response, what: str) -> None:
        """Raise where an answer is none.

        Raises:
            PacsError: With what it says.
        """
        url, status = self.address.url, response.status_code
        if status in _SUCCESS:  # a redirect to nowhere is none
            return
        if status in _PASSING:
            raise PacsUnreachableError(
                f"{url} answers {status} when asked for {what}", has_answered=True, wait=_retry_after(response)
            )
        if status in _UNAUTHORISED:
            raise PacsError(f"{url} answers {status}, not authorized; check user and password, or the token")
        if status in _GONE:
            raise PacsGoneError(f"{url} answers {status} when asked for {what}; check --url and the UID")
        raise PacsError(f"{url} answers {status} when asked for {what}; look at the log of the PACS")

    def _check_redirect(self, method: str, url: str) -> None:
        if method != "GET" or _origin(url) != _origin(self.address.url):
            parts = urlsplit(url)
            place = printable(f"{parts.scheme}://{parts.hostname or ''}")
            raise PacsError(
                f"{self.address.url} redirects to {place}, which is not followed; if that is the PACS, name it in --url"
            )

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn what HTTP libraries raise into one sentence; tell passing trouble from lasting."""
        import requests
        import urllib3

        url = self.address.url
        try:
            yield
        except requests.exceptions.SSLError as error:
            raise PacsError(
                f"{url} has a certificate that is not trusted, or was made out to another name; name the authority's "
                "with --ca-bundle, or the server as its certificate does"
            ) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise PacsUnreachableError(
                f"{url} cannot be reached for {what} ({type(error).__name__})", has_answered=False
            ) from error
        except InputError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, IncompleteError, ValueError) as error:
            # A ValueError comes of malformed redirects and lengths, which the libraries do not expect.
            reason = str(error) if isinstance(error, IncompleteError) else type(error).__name__
            raise PacsUnreachableError(
                f"{url} gives no whole answer when asked for {what} ({reason})", has_answered=True
            ) from error


class IncompleteError(Exception):
    """An answer ends too early, or fewer instances came than there are."""


class _Authorization:
    """Adds what lets us in: a token, user and password, or nothing."""

    def __init__(self, address: PacsAddress) -> None:
        self._address = address

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        from requests.auth import HTTPBasicAuth

        if self._address.token:
            request.headers["Authorization"] = f"Bearer {self._address.token}"
        elif self._address.user:
            user, password = self._address.user.encode(), self._address.password.encode()
            return HTTPBasicAuth(user, password)(request)
        return request


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    return parts.scheme, parts.hostname or "", port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def _retry_after(response: Response) -> float:
    """How long an answer asks to be left alone, s; 0 where it does not say so in seconds."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0.0  # noqa: PLR2004  no year is longer


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warning(response: Response) -> str:
    return printable(response.headers.get("Warning", ""))[:200]
