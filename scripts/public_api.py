"""Write the public interface, so that a test sees when it changes: tests/data/public-api.txt.

One line for each public name (those in `__all__`) and for each public member of a class, with its signature.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "data" / "public-api.txt"
PACKAGES = (
    "moeclip_med",
    "moeclip_med.batch",
    "moeclip_med.demo",
    "moeclip_med.engines",
    "moeclip_med.model",
    "moeclip_med.results",
    "moeclip_med.scoring",
    "moeclip_med.weights",
    "moeclip_transforms",
)


def describe(name: str, named: griffe.Object | griffe.Alias) -> list[str]:
    """Return the lines of one public name."""
    item = named.final_target if isinstance(named, griffe.Alias) else named
    if isinstance(item, griffe.Function):
        return [f"{name}: {item.signature()}"]
    if isinstance(item, griffe.Attribute):
        return [f"{name}: {item.annotation}"]
    lines = [f"{name} (class)"]
    for member_name, member in sorted(item.members.items()):
        if not member_name.startswith("_") and not member.is_alias:
            lines += describe(f"{name}.{member_name}", member)
    return lines


def public_api() -> str:
    """Return the public interface as text."""
    loader = griffe.GriffeLoader(search_paths=[ROOT, ROOT / "transforms"])
    for package in ("moeclip_transforms", "moeclip_med"):
        loader.load(package)
    loader.resolve_aliases()
    lines = []
    for package in PACKAGES:
        for name in sorted(import_module(package).__all__):
            if not name.startswith("_"):
                lines += describe(f"{package}.{name}", loader.modules_collection[f"{package}.{name}"])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api(), encoding="utf-8", newline="\n")
