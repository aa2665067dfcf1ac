"""What the status bar says under the mouse: the score, and the place in the patient."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_moeclip.navigation import describe_place, voxel_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

    from napari_moeclip.session import Session


def show_scores_on_hover(layer: Layer, session: Session) -> None:
    """Let a layer's status name the score and the patient coordinates (mm, LPS+) under the mouse.

    napari asks the active layer for its status; that method is wrapped for this one layer.

    Args:
        layer: A layer that lies on the scored image.
        session: The run.
    """
    own = type(layer).get_status
    layer.__dict__["get_status"] = partial(_status, layer, session, own)


def _status(
    layer: Layer,
    session: Session,
    own: Any,  # noqa: ANN401 - napari's method
    position: Sequence[float] | None = None,
    **options: Any,  # noqa: ANN401 - napari's options
) -> dict[str, str]:
    status: dict[str, str] = own(layer, position, **options)
    if position is None or not options.get("world", False):
        return status
    voxel = voxel_at(position, layer, session.origin)
    if voxel is None:
        return status
    text = f"{session.describe(voxel)} · {describe_place(voxel, session.origin)}"
    return status | {"coordinates": text, "coords": describe_place(voxel, session.origin), "value": text}
