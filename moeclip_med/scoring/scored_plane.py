"""The plane that is scored, and the view in which a result is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_transforms import Plane, slice_views

if TYPE_CHECKING:
    from moeclip_transforms import SliceView
    from moeclip_transforms.volume import Grid

    from moeclip_med.scoring.anomaly import AnomalyVolume

LARGEST_ANISOTROPY = 2.0
"""A sagittal volume is cut in axial slices where its slices lie at most this many in-plane spacings apart."""


def plane_to_score(volume: Grid, plane: Plane) -> Plane:
    """Return the plane to cut slices along: "auto" is the acquired one, unless that hides the body's symmetry.

    The halves of a body can be compared in a slice that holds its left-right axis, which a sagittal one does not.
    Where its slices lie close enough together, axial slices of the same voxels do.

    Args:
        volume: The volume.
        plane: What the user asked for; any other than AUTO stays.
    """
    is_free = plane is Plane.AUTO and volume.has_orientation and volume.is_regular and min(volume.shape) > 1
    if not is_free or slice_views(volume)[0].plane != Plane.SAGITTAL.value:
        return plane
    spacing = volume.affine.spacing
    in_plane = max(length for axis, length in enumerate(spacing) if axis != volume.slice_axis)
    return Plane.AXIAL if spacing[volume.slice_axis] <= LARGEST_ANISOTROPY * in_plane else plane


def scored_view(anomaly: AnomalyVolume) -> SliceView:
    """Return the view whose slices were scored (the first, where planes were fused)."""
    acquired = slice_views(anomaly.volume)[0]
    if acquired.plane in anomaly.planes:
        return acquired
    return slice_views(anomaly.volume, Plane(anomaly.planes[0]))[0]


def was_replaned(anomaly: AnomalyVolume) -> bool:
    """Whether slices were cut along another plane than the acquired one, without the user asking for it."""
    asked = anomaly.record.settings.asked_plane
    return asked is Plane.AUTO and slice_views(anomaly.volume)[0].plane not in anomaly.planes
