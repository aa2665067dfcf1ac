"""Which plane is scored where nobody named one."""

import numpy as np
import pytest
from moeclip_transforms import Plane

from moeclip_med.scoring.scored_plane import plane_to_score

SAGITTAL = [[0, 0, -1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def sagittal(make_volume, through, in_plane=1.0, **changes):
    affine = np.array(SAGITTAL) @ np.diag([in_plane, in_plane, through, 1])
    return make_volume(np.zeros((12, 12, 12)), affine=affine, **changes)


@pytest.mark.parametrize(
    ("through", "expected"), [(1.0, Plane.AXIAL), (2.0, Plane.AXIAL), (2.2, Plane.AUTO), (5.0, Plane.AUTO)]
)
def test_sagittal_slices_are_cut_axially_where_they_lie_close_together(make_volume, through, expected):
    assert plane_to_score(sagittal(make_volume, through), Plane.AUTO) is expected


@pytest.mark.parametrize("plane", [Plane.SAGITTAL, Plane.CORONAL, Plane.ALL])
def test_a_plane_that_was_asked_for_stays(make_volume, plane):
    assert plane_to_score(sagittal(make_volume, 1.0), plane) is plane


def test_axial_slices_and_what_cannot_be_cut_otherwise_stay(make_volume):
    assert plane_to_score(make_volume(np.zeros((9, 9, 9))), Plane.AUTO) is Plane.AUTO
    assert plane_to_score(sagittal(make_volume, 1.0, is_regular=False), Plane.AUTO) is Plane.AUTO
    assert plane_to_score(sagittal(make_volume, 1.0, has_orientation=False), Plane.AUTO) is Plane.AUTO
