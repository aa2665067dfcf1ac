"""Rules of Windows that Linux can imitate: the fixtures `windows_files` and `windows_newlines` use them."""

from __future__ import annotations

import builtins
import io
import os
from pathlib import Path

_OPEN_FILES = Path("/proc/self/fd")


def open_files() -> set[Path]:
    """The regular files that this process holds open, mapped ones included."""
    found = set()
    for link in _OPEN_FILES.iterdir():
        try:
            path = link.readlink()
        except OSError:  # closed meanwhile
            continue
        if path.is_file():
            found.add(path)
    return found


def refuse_open_files(monkeypatch) -> None:
    """Let files that are open, or that lie in a folder to be moved, be neither renamed nor deleted, as on Windows."""

    def wrap(name: str, paths: int) -> None:
        original = getattr(os, name)

        def guarded(*arguments, **options):
            base = options.get("dir_fd") or options.get("src_dir_fd")
            start = (_OPEN_FILES / str(base)).readlink() if base is not None else Path.cwd()
            taken = [start / os.fsdecode(argument) for argument in arguments[:paths]]
            for path in open_files():
                if any(path == place or (name != "rmdir" and place in path.parents) for place in taken):
                    raise PermissionError(13, "the file is used by a process (WinError 32)", str(path))
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, guarded)

    for name, paths in (("rename", 2), ("replace", 2), ("unlink", 1), ("remove", 1)):
        wrap(name, paths)


def write_crlf(monkeypatch) -> None:
    """Let text files get the line ends of Windows where nobody says which."""
    original = io.open

    def translated(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
        is_text = "b" not in mode and any(letter in mode for letter in "wax+")
        return original(
            file, mode, buffering, encoding, errors, "\r\n" if is_text and newline is None else newline, *rest, **more
        )

    monkeypatch.setattr(io, "open", translated)
    monkeypatch.setattr(builtins, "open", translated)
