"""What nnU-Net's dataset.json says of a raw data set: names of channels, and the label that is to be ignored."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 1 << 22
_CHANNEL = re.compile(r"_(\d{4})\.[a-z.]+$", re.IGNORECASE)


@dataclass(frozen=True)
class RawFacts:
    """What is known of a raw data set.

    Attributes:
        channels: Names of the channels by their numbers.
        ignore_labels: The label of voxels that were not evaluated, where there is one.
    """

    channels: dict[int, str]
    ignore_labels: tuple[int, ...] = ()

    def number_of(self, channel: str, name: str) -> int:
        """Return the number of a channel that is named or numbered.

        Raises:
            InputError: If there is no such channel.
        """
        wanted = channel.strip().lower()
        for number, title in self.channels.items():
            if wanted in (title.lower(), str(number)):
                return number
        listed = ", ".join(f"{number} ({title})" for number, title in sorted(self.channels.items()))
        raise InputError(f'{name}: there is no channel "{channel}"; choose from {listed or "0"}')


def read_raw_facts(path: Path) -> RawFacts:
    """Read dataset.json (version 1 or 2 of nnU-Net, or of the Decathlon) and see which channels there are files of.

    Args:
        path: The folder, whose imagesTr holds CASE_0000.nii.gz and so on.
    """
    content = _content(path / "dataset.json")
    named = content.get("channel_names") or content.get("modality") or {}
    labels = content.get("labels") or {}
    folders = [folder for folder in (path / "imagesTr", path / "images", path / "imagesTs") if folder.is_dir()]
    numbers = {
        int(found[1]) for folder in folders for file in folder.iterdir() if (found := _CHANNEL.search(file.name))
    }
    names = {int(key): str(value) for key, value in named.items() if str(key).isdigit()}
    ignored = labels.get("ignore")
    return RawFacts(
        {number: names.get(number, f"channel {number}") for number in sorted(numbers)},
        (ignored,) if isinstance(ignored, int) else (),
    )


def _content(path: Path) -> dict[str, Any]:
    """The file, or nothing where it is none or no JSON: the files themselves say enough."""
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, dict)}
