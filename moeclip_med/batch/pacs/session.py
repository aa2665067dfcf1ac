"""The HTTP session under DICOMweb: trusts the certificates it is told to, and notices answers that were cut off."""

from __future__ import annotations

import logging
from email.message import Message
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

_EPILOGUE_BYTES = 1024
"""How far before the end of an answer its closing boundary is looked for."""


class Session(requests.Session):
    """A session whose own `verify` comes before the variable REQUESTS_CA_BUNDLE."""

    def __init__(self) -> None:
        super().__init__()
        self.hooks["response"].append(_expect_closing_boundary)
        # The library under dicomweb-client logs every failed try with its traceback; what failed is told once, here.
        logging.getLogger("retrying").setLevel(logging.CRITICAL)

    def merge_environment_settings(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as in requests
        """Merge as requests does, but keep what was asked for."""
        merged = super().merge_environment_settings(*arguments, **named)
        return {**merged, "verify": self.verify} if isinstance(self.verify, str) else merged


def _expect_closing_boundary(response: requests.Response, *_: object, **__: object) -> None:
    """Make a multipart answer (RFC 2046, 5.1.1) fail where it ends early.

    Some servers, Orthanc among them, send it without a length and close the connection at its end. A line that is cut
    then looks like the end, and the last instance would be taken for whole.
    """
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_boundary()
    if boundary is None:
        return
    closing = f"--{boundary}--".encode()
    read = response.iter_content

    def read_to_the_end(*arguments: Any, **named: Any) -> Iterator[bytes]:  # noqa: ANN401 - as in requests
        tail = b""
        for piece in read(*arguments, **named):
            tail = (tail + piece)[-len(closing) - _EPILOGUE_BYTES :]
            yield piece
        if closing not in tail:
            msg = "the answer ends before its closing boundary"
            raise requests.exceptions.ChunkedEncodingError(msg)

    response.iter_content = read_to_the_end  # type: ignore[method-assign]
