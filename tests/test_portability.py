"""The packages can be imported, and start processes alike, on Windows and macOS.

Calls that Windows lacks (`os.fork`, `signal.SIGKILL`, `resource` without a check of `sys.platform`) are found by `make
lint`: mypy checks the packages for each of the three systems.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("moeclip_med", "transforms/moeclip_transforms", "napari_plugin/napari_moeclip")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
POSIX_MODULES = {"curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
MAKERS = {"Pool", "Process", "ProcessPoolExecutor"}
"""What starts processes: by `fork` on Linux where no context is named, by `spawn` on Windows and macOS."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported_modules(tree: ast.Module) -> set[str]:
    """Names of modules that importing the file imports."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def unsafe_starts(tree: ast.Module) -> list[int]:
    """Lines that start a process by the system's default: neither a method of a context nor told one."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        owner = getattr(getattr(called, "value", None), "id", "")
        name = getattr(called, "attr", getattr(called, "id", ""))
        told = any(keyword.arg == "mp_context" for keyword in node.keywords)
        if name in MAKERS and owner in {"", "multiprocessing", "futures"} and not told:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("code", ["Pool(2)", "multiprocessing.Process(target=f)", "ProcessPoolExecutor(1)"])
def test_the_scan_finds_a_start_by_the_default(code):
    assert unsafe_starts(ast.parse(code)) == [1]


def test_the_scan_accepts_a_start_by_a_named_context():
    assert not unsafe_starts(ast.parse("ProcessPoolExecutor(1, mp_context=c); context.Process(target=f)"))


def test_no_import_of_a_package_needs_a_module_that_windows_lacks():
    assert not {
        str(path.relative_to(ROOT)): found
        for path in FILES
        if (found := imported_modules(parsed(path)) & POSIX_MODULES)
    }


def test_every_process_is_started_the_same_way_on_every_system():
    assert not {str(path.relative_to(ROOT)): lines for path in FILES if (lines := unsafe_starts(parsed(path)))}
