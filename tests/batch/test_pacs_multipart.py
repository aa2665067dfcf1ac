"""Parts of an answer come out as they went in, and nothing breaks the parser."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moeclip_med.batch.pacs.http import IncompleteError
from moeclip_med.batch.pacs.multipart import boundary_of, save_parts


@given(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.integers(1, 40),
    st.sampled_from([b"b", b"--", b"=_x"]),
)
def test_parts_come_out_as_they_went_in_however_they_are_cut(tmp_path_factory, parts, size, boundary):
    parts = [part.replace(b"\r\n--" + boundary, b"") for part in parts]
    body = b"".join(b"\r\n--" + boundary + b"\r\nA: b\r\n\r\n" + part for part in parts) + b"\r\n--" + boundary + b"--"
    folder = tmp_path_factory.mktemp("parts")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert [path.read_bytes() for path in save_parts(pieces, boundary, folder)] == parts
    with pytest.raises(IncompleteError):
        list(save_parts([body[:-2]], boundary, tmp_path_factory.mktemp("cut")))


@given(st.binary(max_size=400))
def test_no_answer_breaks_the_parser(tmp_path_factory, body):
    with suppress(IncompleteError):
        list(save_parts([body], b"b", tmp_path_factory.mktemp("parts")))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b"', b"a b"),
        ("multipart/related", None),
        ("text/html; boundary=x", None),
        ("", None),
        ("multipart/related; boundary=x\r\nEvil: 1", b"x"),
    ],
)
def test_the_boundary_is_read_from_the_header(content_type, boundary):
    assert boundary_of(content_type) == boundary
