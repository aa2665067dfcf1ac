"""Download a published file: over https alone, at most so large, and kept only if its hash is the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from moeclip_med.weights.cache import written_whole

if TYPE_CHECKING:
    from pathlib import Path

    from requests import Response

_TIMEOUT_SECONDS = 30
_LARGEST_BYTES = 24 << 30
"""OpenCLIP's largest weights take 20 GB."""
_HEX_DIGITS = 64


def download(url: str, sha256: str, place: Path) -> None:
    """Download a file to a place, whole or not at all.

    Args:
        url: Where it is published.
        sha256: What its hash must be, in hexadecimal.
        place: Where to write it; its folder is made.

    Raises:
        OSError: There is no connection, or the server does not give the file.
        ValueError: The address, or one that the server points to, is not https; the file is too large or of unknown
            size; or its hash is another.
    """
    import pooch

    _check_address(url)
    pooch.get_logger().setLevel("WARNING")  # it tells of its temporary file
    downloader = pooch.HTTPDownloader(
        progressbar=True,
        timeout=_TIMEOUT_SECONDS,
        headers={"Accept-Encoding": "identity"},  # else the stated size is not that of the file
        hooks={"response": _check_response},
    )
    with written_whole(place) as path:
        pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=downloader)


def hub_file(repository: str, filename: str) -> tuple[str, str]:
    """Look up the address and the SHA-256 of a file on Hugging Face.

    Raises:
        OSError: There is no connection, or no such file.
        ValueError: Hugging Face states no SHA-256.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repository, filename)
    try:
        sha256 = get_hf_file_metadata(url).etag or ""
    except Exception as error:  # of `requests` or `httpx`, as the library's version has it
        raise OSError(str(error) or type(error).__name__) from error
    if len(sha256) != _HEX_DIGITS:
        raise ValueError(f"{url}: no SHA-256 is published for this file")
    return url, sha256


def _check_response(response: Response, **_: Any) -> None:  # noqa: ANN401 - what `requests` hands to a hook
    """Refuse to follow a server to an address without TLS, and a body larger than any weights."""
    if response.is_redirect:
        _check_address(urljoin(response.url, response.headers["Location"]))
        return
    response.raise_for_status()
    size = response.headers.get("Content-Length", "")
    if not size.isdecimal() or int(size) > _LARGEST_BYTES:
        raise ValueError(f"{response.url}: {size or 'unknown'} bytes; at most {_LARGEST_BYTES} are downloaded")


def _check_address(url: str) -> None:
    if not url.startswith("https://"):
        raise ValueError(f"{url}: only https is downloaded")
