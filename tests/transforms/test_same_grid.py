import numpy as np
import pytest
from moeclip_transforms import Affine
from moeclip_transforms.same_grid import grid_distance

SHAPE = (96, 112, 24)
GRID = Affine(np.array([[-2.5, 0, 0, 118.43], [0, -2.5, 0, 131.77], [0, 0, 6, -60.21], [0, 0, 0, 1.0]]))


def moved(**changes):
    matrix = GRID.matrix.copy()
    for place, change in changes.items():
        matrix[int(place[1]), int(place[2])] += change
    return Affine(matrix)


@pytest.mark.parametrize("other", [GRID, moved(_03=0.05, _13=-0.05), moved(_01=1e-3, _10=-1e-3), moved(_00=1e-3)])
def test_rounding_is_the_same_grid(other):
    assert grid_distance(GRID, other, SHAPE).is_same


@pytest.mark.parametrize("other", [moved(_03=2.5), moved(_03=1.25), moved(_23=3.0), moved(_00=5.0)])
def test_half_a_voxel_and_mirroring_are_another_grid(other):
    assert not grid_distance(GRID, other, SHAPE).is_same


def test_the_distance_is_told_in_voxels_and_mm():
    distance = grid_distance(GRID, moved(_03=2.5), SHAPE)
    assert (distance.voxels, distance.mm) == (pytest.approx(1.0), pytest.approx(2.5))
    assert str(distance) == "1 voxels (2.5 mm) apart"


def test_a_micrometre_between_voxels_of_micrometres_is_another_grid():
    small = Affine(np.diag([0.001, 0.001, 0.001, 1.0]))
    shifted = small.matrix.copy()
    shifted[0, 3] = 0.001
    assert not grid_distance(small, Affine(shifted), (10, 10, 10)).is_same
