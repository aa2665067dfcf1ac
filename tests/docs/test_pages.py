"""Every shell and Python block of the README and of the site runs as it stands there, page by page.

A page's blocks run in order, in one folder of small files with the names that the pages use.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from moeclip_med.cli.app import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


def lines_of(text: str) -> list[str]:
    """The commands of a shell block, without comments."""
    return [line for line in (line.split(" #")[0].strip() for line in text.splitlines()) if line and line[0] != "#"]


def check_elsewhere(line: str) -> None:
    """Check a command that needs a package index, a screen, a cluster or a PACS as far as it can be checked without."""
    words = shlex.split(line)
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets), line
        return
    extras = {extra.strip() for group in re.findall(r"\[([a-z,]+)\]", line) for extra in group.split(",")}
    assert extras <= set(PROJECT["optional-dependencies"]), line


ELSEWHERE = (
    "make ",
    "pip ",
    "napari",
    "ray ",
    "python3 -m venv",
    "source ",
    ".venv/",
    "git ",
    "moeclip-med pacs ",
    "moeclip-med demo ",
)


def options_fit(words: list[str]) -> None:
    """Parse the arguments of `moeclip-med` as the command does, without running it; raise what it would refuse."""
    root = typer.main.get_command(app)
    commands = [root]
    for command in commands:
        command.callback = None
        commands += getattr(command, "commands", {}).values()
    root.main(words, standalone_mode=False)


@pytest.fixture
def run_shell(command, desk, monkeypatch):
    """Return what evaluates a shell block: each command in a process of its own, as a user runs it."""

    def run(example) -> None:
        for line in lines_of(example.parsed):
            if line.startswith(ELSEWHERE) or " ray " in line or "--ray" in line:
                check_elsewhere(line)
                continue
            words = shlex.split(line)
            if words[0] == "export":
                monkeypatch.setenv(*words[1].split("=", 1))
                continue
            assert words[0] == "moeclip-med", f"{example.path}: no test can run {line!r}"
            done = command(*words[1:], cwd=desk, timeout=None)  # that of the test ends it
            assert done.returncode == 0, f"{line}\n{done.stderr}"

    return run


@pytest.fixture
def viewers(monkeypatch):
    """Let blocks open viewers of napari, which close at the end: nobody is there to close their windows."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        pytest.skip("no display: run with xvfb-run")
    import napari

    monkeypatch.setattr(napari, "run", lambda: None)
    yield
    napari.Viewer.close_all()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.timeout(1800)
def test_blocks_run(page, run_shell, desk, monkeypatch, request):
    if "import napari" in (ROOT / page).read_text("utf-8"):
        request.getfixturevalue("viewers")
    monkeypatch.chdir(desk)
    parsers = [PythonCodeBlockParser(), CodeBlockParser("sh", run_shell)]
    document = Sybil(parsers, path=str(ROOT)).parse(ROOT / page)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES)
def test_options_of_commands_exist(page, monkeypatch):
    """Also in blocks that show a command with placeholders, which nothing can run."""
    monkeypatch.setenv("MOECLIP_MED_PACS_URL", "https://pacs.example/dicom-web")
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for line in (line for block in blocks for line in lines_of(block.replace("\\\n", " "))):
        if line.startswith("moeclip-med "):
            options_fit(shlex.split(re.sub(r"[][]|…", "", line))[1:])


def test_only_known_languages_are_used():
    """A block that a person would type is `sh` or `python`, so that it is run; `py` shows a file that a test runs."""
    found = {
        (page, language)
        for page in PAGES
        for language in re.findall(r"^```(\S*)\n.*?^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    }
    assert not sorted(item for item in found if item[1] not in {"sh", "python", "text", "json", "toml", "yaml", "py"})


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("docs/")])
def test_links_lead_somewhere(page):
    """The site's own links are checked when it is built."""
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / page).parent.joinpath(link).exists(), link


def test_every_environment_variable_is_explained():
    page = (ROOT / "docs" / "how-to" / "automate.md").read_text(encoding="utf-8")
    folders = ("moeclip_med", "transforms/moeclip_transforms", "napari_plugin/napari_moeclip")
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")]
    read = {name for source in sources for name in re.findall(r"\bMOECLIP_MED_[A-Z_]+", source)}
    assert read
    assert not sorted(name for name in read if f"`{name}`" not in page)


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_project_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(
        r"\b(?:benchmarks|scripts|tests|moeclip_med|packaging|conda)/[\w./-]*\.(?:py|json|service|toml|txt|yaml)\b",
        text,
    )
    assert not [name for name in named if not (ROOT / name).is_file()]
