"""Pages that are made while the site is built: the commands from Typer, the Python names from each `__all__`."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import typer
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_SHORTENED = re.compile(r"^\* `([a-z-]+)`: .*$", re.MULTILINE)
_TYPER = [sys.executable, "-m", "typer", "moeclip_med.cli.app", "utils", "docs", "--name", "moeclip-med"]
_COMMANDS = """# Command line

Every command, argument and option, as `--help` shows them. `moeclip-med --install-completion` adds completion to your
shell. [Exit codes, environment variables and logs](../how-to/automate.md) have a page of their own.

"""

PACKAGES = (
    "moeclip_med",
    "moeclip_med.scoring",
    "moeclip_med.results",
    "moeclip_med.engines",
    "moeclip_med.weights",
    "moeclip_med.model",
    "moeclip_med.batch",
    "moeclip_med.demo",
    "moeclip_transforms",
)
"""The packages whose `__all__` is the public interface."""


def api_page(package: str) -> str:
    """Return the page of a package as Markdown: each public name, for mkdocstrings to fill in."""
    module = import_module(package)
    summary = (module.__doc__ or "").strip().split("\n\n")[0]
    names = sorted(module.__all__, key=str.lower)
    entries = "\n".join(f"::: {package}.{name}" for name in names if not name.startswith("_"))
    return f"# {package}\n\n{summary}\n\n{entries}\n"


def summaries() -> dict[str, str]:
    """Return the first sentence of each command's help, by its name after "moeclip-med"; Typer cuts it short."""
    from moeclip_med.cli.app import app

    found, commands = {}, [("", typer.main.get_command(app))]
    for path, command in commands:
        found[path] = (command.help or "").split("\n\n")[0].replace("\n", " ")
        commands += [(f"{path} {name}".strip(), child) for name, child in getattr(command, "commands", {}).items()]
    return found


def command_reference() -> str:
    """Return the reference of all commands as Markdown."""
    made = subprocess.run(_TYPER, capture_output=True, text=True, check=True)  # noqa: S603 - its own arguments
    whole = summaries()
    parts = re.split(r"^(?=#+ `moeclip-med)", made.stdout, flags=re.MULTILINE)
    for number, part in enumerate(parts):
        path = part.split("`")[1].removeprefix("moeclip-med").strip() if part.startswith("#") else ""

        def tell(match: re.Match[str], path: str = path) -> str:
            summary = whole.get(f"{path} {match[1]}".strip())
            return match[0] if summary is None else f"* `{match[1]}`: {summary}"

        parts[number] = _SHORTENED.sub(tell, part)
    text = "".join(parts)
    text = re.sub(r"^# `moeclip-med`\n", "## `moeclip-med`\n", text)
    text = text.replace("```console\n$ ", "```text\n")
    text = re.sub(r"^\*\*(Usage|Arguments|Options|Commands)\*\*:$", r"**\1**", text, flags=re.MULTILINE)
    return _COMMANDS + text


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those on disk."""
    pages = {"reference/cli.md": command_reference()}
    pages |= {f"reference/api/{package}.md": api_page(package) for package in PACKAGES}
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files
