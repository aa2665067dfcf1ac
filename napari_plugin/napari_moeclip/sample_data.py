"""Sample data: images that are simulated, and say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_moeclip import messages
from napari_moeclip.layers import image_layer_data
from napari_moeclip.navigation import prepare_current_viewer
from napari_moeclip.volumes import SharedVolume
from napari_moeclip.waiting import NO_LAYER, Asker, or_say

if TYPE_CHECKING:
    LayerData = tuple[Any, dict[str, Any], str]


def sample_brain() -> list[LayerData]:
    """Return a brain MR (the MNI152 template) with a simulated lesion."""
    return _sample("brain", "simulated brain")


def sample_endoscopy() -> list[LayerData]:
    """Return an endoscopy cine made from formulas, with a simulated polyp."""
    return _sample("endoscopy", "simulated endoscopy")


def _sample(name: str, title: str) -> list[LayerData]:
    prepare_current_viewer()

    def make() -> list[LayerData]:
        with Asker(f"Making the {title} …") as asker:
            volume = SharedVolume(asker.ask(messages.SampleRequest(name)), owns=True)
        return [image_layer_data(volume, title)]

    made = or_say(make)
    return [] if made is NO_LAYER else made
