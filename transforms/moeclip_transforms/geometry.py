"""The affine as a value, and resampling of volumes that no single affine describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import ArrayLike, NDArray

    from moeclip_transforms.volume import FrameGeometry, Grid

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Turns homogeneous LPS+ coordinates into RAS+ ones, and back: it is its own inverse."""

MOST_PLANES = 20
"""How many planes of a grid an acquired slice may stand for: a gap of more than that is no gap between slices."""

_FLAT = 1e-6
_HALF = 0.5
_SAME_DIRECTION = 5e-3
"""Largest difference of direction cosines that is rounding noise (0.3 degrees)."""
_ORTHOGONAL_TOLERANCE = 1e-3
"""Largest cosine between two voxel axes that still counts as a right angle (0.06 degrees)."""


@dataclass(frozen=True, eq=False)
class Affine:
    """A voxel-to-world matrix in mm, RAS+ (x to the right, y to the front, z to the head of the patient).

    Voxel indices count centres: index (0, 0, 0) is the centre of the first voxel.

    Attributes:
        matrix: (4, 4) float64, read-only.

    Raises:
        InputError: When the matrix is not 4x4, not finite, or squashes an axis to nothing.
    """

    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Copy, check and freeze the matrix."""
        matrix = np.array(self.matrix, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise InputError(f"An affine has the shape (4, 4), but this one has {matrix.shape}.")
        if not np.isfinite(matrix).all():
            raise InputError("The affine holds values that are not finite; expected a 4x4 matrix in mm.")
        norms = np.linalg.norm(matrix[:3, :3], axis=0)
        if not norms.all() or abs(np.linalg.det(matrix[:3, :3] / np.where(norms == 0, 1, norms))) < _FLAT:
            raise InputError("The affine is singular: two voxel axes coincide or one has no length.")
        matrix.setflags(write=False)
        object.__setattr__(self, "matrix", matrix)

    @classmethod
    def from_lps(cls, matrix: ArrayLike) -> Affine:
        """Make one from a (4, 4) matrix whose world is LPS+ (DICOM, ITK)."""
        return cls(RAS_FROM_LPS @ np.asarray(matrix, dtype=np.float64))

    @classmethod
    def from_axes(cls, direction: ArrayLike, spacing: ArrayLike, origin: ArrayLike) -> Affine:
        """Make one from (3, 3) unit columns, spacing (3,) in mm and origin (3,) in mm, RAS+."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(direction, dtype=np.float64) * np.asarray(spacing, dtype=np.float64)
        matrix[:3, 3] = np.asarray(origin, dtype=np.float64)
        return cls(matrix)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Affine) and bool(np.array_equal(self.matrix, other.matrix))

    def __hash__(self) -> int:
        return hash(self.matrix.tobytes())

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each axis, mm."""
        x, y, z = (float(norm) for norm in np.linalg.norm(self.matrix[:3, :3], axis=0))
        return (x, y, z)

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position of voxel (0, 0, 0), mm, RAS+."""
        x, y, z = (float(value) for value in self.matrix[:3, 3])
        return (x, y, z)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3): one unit column per voxel axis, RAS+."""
        direction: NDArray[np.float64] = self.matrix[:3, :3] / np.asarray(self.spacing)
        return direction

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Where each voxel axis points: one of R, L, A, P, S, I each (the nearest, for oblique axes)."""
        from nibabel import orientations

        nibabel_orientations: Any = orientations  # partly untyped
        x, y, z = nibabel_orientations.aff2axcodes(self.matrix)
        return (x, y, z)

    @property
    def is_orthogonal(self) -> bool:
        """Whether the voxel axes are at right angles; false for a gantry tilt."""
        cosines = self.direction.T @ self.direction - np.eye(3)
        return bool(np.abs(cosines).max() < _ORTHOGONAL_TOLERANCE)

    def tilt(self, slice_axis: int = 2) -> float:
        """Angle between the slice axis and the normal of the slices, degrees: 0 without gantry tilt."""
        in_plane = [axis for axis in range(3) if axis != slice_axis]
        normal = np.cross(self.direction[:, in_plane[0]], self.direction[:, in_plane[1]])
        axis = self.direction[:, slice_axis]
        along = abs(float(normal @ axis))
        across = float(np.linalg.norm(np.cross(normal, axis)))
        return float(np.degrees(np.arctan2(across, along)))

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return abs(float(np.linalg.det(self.matrix[:3, :3]))) / 1000.0

    def to_lps(self) -> NDArray[np.float64]:
        """The (4, 4) matrix with world coordinates in LPS+, as DICOM and ITK want it."""
        return RAS_FROM_LPS @ self.matrix

    def to_world(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) voxel indices to (..., 3) mm, RAS+."""
        points: NDArray[np.float64] = np.asarray(voxels, dtype=np.float64)
        return points @ self.matrix[:3, :3].T + self.matrix[:3, 3]

    def to_voxel(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) mm, RAS+, to (..., 3) fractional voxel indices."""
        inverse = np.linalg.inv(self.matrix).astype(np.float64)
        world: NDArray[np.float64] = np.asarray(points, dtype=np.float64)
        return world @ inverse[:3, :3].T + inverse[:3, 3]


def resample_to_orthogonal(
    values: NDArray[Any],
    volume: Grid,
    *,
    interpolation: Literal["linear", "nearest"] = "linear",
) -> tuple[NDArray[Any], Affine]:
    """Resample values on the acquired slices of an irregular volume to an orthogonal, evenly spaced grid.

    The grid keeps the direction and pixel spacing of the slices; its third axis is their normal, its spacing the
    median gap between slices; it covers every slice. Each plane of the grid is interpolated between its two
    neighbours among the acquired slices, each shifted to where it really lies: right for gantry tilt and for uneven
    gaps alike. Outside the slices the value is 0; voxels that less than half of the weight reaches count as outside.

    Args:
        values: (x, y, z) per-voxel values on the volume's grid, z counting the acquired slices.
        volume: The volume they belong to; its `frame_geometry` says where each slice lies.
        interpolation: "linear" for scores and intensities, "nearest" for labels.

    Returns:
        The resampled (x, y, z) array of the same type, and its affine.

    Raises:
        InputError: When the volume has no slice positions, its slices do not share one direction, or the grid that
            covers them would have more than `MOST_PLANES` planes for each acquired slice.
    """
    frames = volume.frame_geometry
    if len(frames) != values.shape[2]:
        raise InputError(
            f"Resampling needs one slice position for each of the {values.shape[2]} slices, "
            f"but this volume has {len(frames)}."
        )
    grid = _OrthogonalGrid.around(frames, values.shape[:2], volume.affine)
    nearest = interpolation == "nearest"
    result: NDArray[Any] = np.zeros(grid.shape, dtype=values.dtype)
    inside = np.ones(values.shape[:2], dtype=np.float32)
    for plane in range(grid.shape[2]):
        total: NDArray[Any] = np.zeros(grid.shape[:2], dtype=values.dtype if nearest else np.float32)
        covered = np.zeros(grid.shape[:2], dtype=np.float32)
        for frame, weight in grid.neighbours(plane, nearest=nearest):
            shifted = grid.place(values[:, :, frame], frame, nearest=nearest)
            total += shifted if nearest else weight * shifted
            covered += weight * grid.place(inside, frame, nearest=nearest)
        if not nearest:  # at the rim only one of two slices may reach a voxel: its value is not mixed with nothing
            total = np.where(covered >= _HALF, total / np.maximum(covered, _HALF), 0.0)
        result[:, :, plane] = total
    return result, grid.affine


def ras_from_lps(points: ArrayLike) -> NDArray[np.float64]:
    """Return (..., 3) points or directions of DICOM's and ITK's frame, LPS+, in RAS+; or the other way round."""
    values: NDArray[np.float64] = np.asarray(points, dtype=np.float64)
    turned: NDArray[np.float64] = values * np.diag(RAS_FROM_LPS)[:3]
    return turned


def _check_directions(frames: Sequence[FrameGeometry]) -> None:
    """Refuse slices that do not lie parallel."""
    directions = np.array([[*frame.row_direction, *frame.column_direction] for frame in frames])
    apart = float(np.abs(directions - directions[0]).max())
    if apart > _SAME_DIRECTION:
        raise InputError(
            f"The slices do not share one direction (cosines differ by up to {apart:.3g}), so no grid fits them; "
            "omit the results that need one."
        )


def _check_size(n_planes: int, n_slices: int, gap: float) -> None:
    """Refuse a grid that is out of proportion to what was acquired."""
    if n_planes > MOST_PLANES * n_slices:
        raise InputError(
            f"A regular grid for these {n_slices} slices, {gap:.3g} mm apart in the median, would have {n_planes} "
            f"planes; at most {MOST_PLANES} for each slice are made: split the series by acquisition."
        )


@dataclass(frozen=True)
class _OrthogonalGrid:
    """The target of `resample_to_orthogonal`, and where the acquired slices lie in it."""

    affine: Affine
    shape: tuple[int, int, int]
    offsets: NDArray[np.float64]  # (slices, 3): first pixel of each slice in grid voxels

    @classmethod
    def around(cls, frames: tuple[FrameGeometry, ...], in_plane: tuple[int, ...], affine: Affine) -> _OrthogonalGrid:
        _check_directions(frames)
        row, column = ras_from_lps(frames[0].row_direction), ras_from_lps(frames[0].column_direction)
        normal = np.cross(row, column)
        positions = ras_from_lps([frame.position for frame in frames])
        along = positions @ normal
        if len(frames) > 1 and along[-1] < along[0]:
            normal, along = -normal, -along
        gap = float(np.median(np.diff(along))) if len(frames) > 1 else affine.spacing[2]
        spacing = np.array([*affine.spacing[:2], gap])
        basis = np.stack([row, column, normal], axis=1)
        in_grid = positions @ basis / spacing  # each slice's first pixel, in voxels from the world's origin
        low, high = in_grid.min(axis=0), in_grid.max(axis=0)
        counts = np.ceil(np.round(high - low, 6)).astype(int) + np.array([*in_plane, 1])
        _check_size(int(counts[2]), len(frames), gap)
        return cls(
            Affine.from_axes(basis, spacing, basis @ (low * spacing)),
            (int(counts[0]), int(counts[1]), int(counts[2])),
            in_grid - low,
        )

    def neighbours(self, plane: int, *, nearest: bool) -> list[tuple[int, float]]:
        """The acquired slices on both sides of a plane of the grid, with their weights."""
        along = self.offsets[:, 2]
        if plane >= along[-1]:
            return [(len(along) - 1, 1.0)] if nearest or plane - along[-1] <= _HALF else []
        after = int(np.searchsorted(along, plane, side="right"))
        before = after - 1
        weight = float((plane - along[before]) / (along[after] - along[before]))
        if nearest:
            return [(after if weight > _HALF else before, 1.0)]
        return [(before, 1.0 - weight), (after, weight)] if weight > 0 else [(before, 1.0)]

    def place(self, values: NDArray[Any], frame: int, *, nearest: bool) -> NDArray[Any]:
        """One slice (x, y) moved to its place in the plane of the grid; 0 outside it."""
        from scipy.ndimage import shift

        canvas: NDArray[Any] = np.zeros(self.shape[:2], dtype=values.dtype if nearest else np.float32)
        canvas[: values.shape[0], : values.shape[1]] = values
        offset = np.round(self.offsets[frame, :2], 6)
        if not offset.any():
            return canvas
        moved: NDArray[Any] = shift(canvas, offset, order=0 if nearest else 1, mode="constant", cval=0)
        return moved
