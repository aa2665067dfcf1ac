"""A file that is written whole: there complete or not at all, and with the mode of any new file."""

from __future__ import annotations

import os
import stat
import sys

import pytest

from moeclip_med.weights.cache import written_whole


def test_file_appears_whole_and_alone(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with written_whole(target) as temporary:
        temporary.write_text("content")
        assert not target.exists()
    assert target.read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def write_half(target):
    with written_whole(target) as temporary:
        temporary.write_text("half")
        temporary.with_name("missing").read_text()


def test_nothing_stays_of_a_failed_write(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("before")
    with pytest.raises(FileNotFoundError):
        write_half(target)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_mode_follows_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with written_whole(tmp_path / "file.txt") as temporary:
            temporary.write_text("content")
            temporary.chmod(0o400)  # as safetensors does, or stricter
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == mode
