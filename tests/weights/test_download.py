"""A download is whole, of the published hash, from https alone, and no larger than weights are."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from file_server import serving

from moeclip_med.weights.download import download

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_is_kept_where_it_was_asked_for(tmp_path, served):
    served.files |= {"/a": served.url("/b"), "/b": CONTENT}
    place = tmp_path / "towers" / "a.pt"
    download(served.url("/a"), SHA256, place)
    assert (place.read_bytes(), served.asked) == (CONTENT, ["/a", "/b"])
    assert [path.name for path in place.parent.iterdir()] == ["a.pt"]
    if os.name == "posix":
        plain = tmp_path / "plain"
        plain.touch()
        assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("headers", "content", "sha256", "message"),
    [
        ({}, CONTENT, "0" * 64, SHA256),
        ({}, None, SHA256, "404"),
        ({"Content-Length": str(25 << 30)}, b"", SHA256, f"{25 << 30} bytes"),
        ({"Content-Length": None}, CONTENT, SHA256, "unknown bytes"),
        ({"Content-Length": "9000"}, CONTENT, SHA256, "IncompleteRead"),
    ],
    ids=["another hash", "no file", "too large", "of unknown size", "cut off"],
)
def test_anything_else_is_refused_and_leaves_nothing(tmp_path, served, headers, content, sha256, message):
    served.headers, served.files["/a"] = headers, content
    with pytest.raises((OSError, ValueError), match=message):
        download(served.url("/a"), sha256, tmp_path / "towers" / "a.pt")
    assert not list((tmp_path / "towers").iterdir())


def test_no_server_leads_to_an_address_without_tls(tmp_path, served):
    with serving() as plain:
        plain.files["/a"] = CONTENT
        served.files["/a"] = plain.url("/a")
        for url in (served.url("/a"), plain.url("/a")):
            with pytest.raises(ValueError, match="only https"):
                download(url, SHA256, tmp_path / "a.pt")
        assert not plain.asked
