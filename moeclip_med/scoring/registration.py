"""Rigid registration of two volumes of one patient, and how well they fit; all by SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms import Affine
from moeclip_transforms.errors import InputError
from moeclip_transforms.geometry import RAS_FROM_LPS
from moeclip_transforms.library_warnings import quietly

if TYPE_CHECKING:
    from moeclip_transforms import Volume
    from moeclip_transforms.volume import Grid
    from numpy.typing import NDArray

_LONGEST_SIDE = 128
"""Registration works on so many voxels along the longest side: 2 mm for a head."""
_SHRINK, _SMOOTH = (4, 2, 1), (2.0, 1.0, 0.0)
_BINS = 32
_SAMPLED = 0.2
_SEED = 1
_STEPS = 500
_FIRST_STEP_MM, _LAST_STEP_MM = 2.0, 0.0005  # it is halved at each turn, so a larger last one ends far from the best
_LEAST_VOXELS = 1000
"""Below so many common voxels nothing is said of the fit."""


@dataclass(frozen=True)
class RigidFit:
    """How a prior lies on the current image, and how well it fits there.

    Attributes:
        to_prior: From the current image's world to the prior's, mm, RAS+; the identity where nothing was moved.
        is_registered: Whether the prior was moved; False takes its own patient coordinates.
        shift_mm: How far the centre of the current image moves.
        rotation_degrees: The angle of the rotation.
        overlap: The share of the current image that the prior covers, 0 to 1.
        correlation: Pearson's correlation of the values of both images where they overlap; None without overlap, and
            for a prior without its image.
        mutual_information: Their mutual information in bits, from a joint histogram of 32 x 32 bins; None as above.
    """

    to_prior: Affine
    is_registered: bool = False
    shift_mm: float = 0.0
    rotation_degrees: float = 0.0
    overlap: float | None = None
    correlation: float | None = None
    mutual_information: float | None = None


def register(current: Volume, prior: Volume) -> RigidFit:
    """Find the rigid motion that lays a prior on the current image.

    Mattes' mutual information (IEEE TMI 22, 2003) over three resolutions, started from the better of: patient
    coordinates as they are, and centres of mass on one another. One thread and a fixed seed: the same images give the
    same motion up to rounding.

    Args:
        current: The image that stays.
        prior: The image that is moved.

    Returns:
        The fit with the most mutual information, times the share of the image that is covered; that of the patient
        coordinates as they are where no motion has more.

    Raises:
        InputError: When an image has no patient coordinates or has colours.
    """
    sitk = _itk()
    for volume in (current, prior):
        check_placed(volume)
    fixed, moving = (_small(volume) for volume in (current, prior))
    method: Any = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_SAMPLED, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTH)
    method.SetOptimizerAsRegularStepGradientDescent(_FIRST_STEP_MM, _LAST_STEP_MM, _STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    before = measure_fit(current, prior)
    found = [before]
    for start in _starts(fixed, moving):
        method.SetInitialTransform(start, inPlace=False)
        try:
            motion = method.Execute(fixed, moving)
        except RuntimeError:  # ITK: the images do not overlap from this start
            continue
        found.append(measure_fit(current, prior, _to_matrix(motion)))
    return max(found, key=lambda fit: (fit.mutual_information or 0.0) * (fit.overlap or 0.0))


def measure_fit(current: Volume, prior: Volume, to_prior: NDArray[np.float64] | None = None) -> RigidFit:
    """Say how well a prior fits.

    Args:
        current: The image that stays.
        prior: The image that is moved.
        to_prior: (4, 4) from the current image's world to the prior's, mm, RAS+; None moves nothing.

    Raises:
        InputError: When an image has no patient coordinates or has colours.
    """
    sitk = _itk()
    for volume in (current, prior):
        check_placed(volume)
    matrix = np.eye(4) if to_prior is None else to_prior
    fixed = _small(current)
    moved = _resampled(_small(prior), fixed, matrix, sitk.sitkLinear, np.nan)
    a, b = (sitk.GetArrayViewFromImage(image).ravel() for image in (fixed, moved))
    both = np.isfinite(b)
    a, b = a[both].astype(np.float64), b[both].astype(np.float64)
    is_enough = a.size >= _LEAST_VOXELS and np.ptp(a) > 0 and np.ptp(b) > 0
    centre = current.affine.to_world((np.asarray(current.shape) - 1) / 2)
    angle = np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1.0, 1.0))
    return RigidFit(
        to_prior=Affine(matrix),
        is_registered=to_prior is not None,
        shift_mm=float(np.linalg.norm(matrix[:3, :3] @ centre + matrix[:3, 3] - centre)),
        rotation_degrees=float(np.degrees(angle)),
        overlap=float(both.mean()),
        correlation=float(np.corrcoef(a, b)[0, 1]) if is_enough else None,
        mutual_information=_mutual_information(a, b) if is_enough else None,
    )


def resample(
    values: NDArray[Any], affine: Affine, onto: Grid, to_prior: Affine, *, is_labels: bool = False
) -> NDArray[Any]:
    """Resample a prior's array onto the current image's grid.

    Args:
        values: (x, y, z) on the prior's grid.
        affine: That grid, voxel to the prior's world, mm, RAS+.
        onto: The current image's grid.
        to_prior: From the current image's world to the prior's.
        is_labels: Whether to take the nearest value instead of interpolating.

    Returns:
        (x, y, z) of the current image's shape and the type of `values`; 0 for labels and the lowest value for others
        where the prior does not reach.
    """
    sitk = _itk()
    grid: Any = sitk.Image(*onto.shape, sitk.sitkUInt8)
    _place(grid, onto.affine)
    outside = 0.0 if is_labels else float(values.min())
    how = sitk.sitkNearestNeighbor if is_labels else sitk.sitkLinear
    moved = _resampled(_to_image(values, affine), grid, to_prior.matrix, how, outside)
    array: NDArray[Any] = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)
    return array


def check_placed(volume: Volume) -> None:
    """Check that a volume can be laid beside another of the same patient.

    Raises:
        InputError: When it has no patient coordinates or has colours.
    """
    if not volume.has_orientation or volume.series.is_colour or min(volume.shape) < 2:  # noqa: PLR2004 - a volume
        raise InputError(
            "An image without patient coordinates has no place beside another; expected a grey volume from DICOM, "
            "NIfTI, MetaImage or NRRD: compare photographs and cines by eye."
        )


def shares_frame(current: Volume, prior: Volume) -> bool:
    """Whether both name the same DICOM frame of reference, so that their coordinates mean the same place."""
    uid = _header_text(current, "FrameOfReferenceUID")
    return bool(uid) and uid == _header_text(prior, "FrameOfReferenceUID")


def is_other_patient(current: Volume, prior: Volume) -> bool:
    """Whether both headers name a patient, and not the same one."""
    one, other = (_header_text(volume, "PatientID") for volume in (current, prior))
    return bool(one) and bool(other) and one != other


def _header_text(volume: Volume, keyword: str) -> str:
    """Return an attribute of the first DICOM header; "" where there is none."""
    import pydicom

    if not volume.source.headers:
        return ""
    with quietly():
        header = pydicom.dcmread(BytesIO(volume.source.headers[0]), force=True, specific_tags=[keyword])
        return str(header.get(keyword) or "").strip()


def _itk() -> Any:  # noqa: ANN401 - SimpleITK is untyped
    import SimpleITK

    return SimpleITK


def _to_image(values: NDArray[Any], affine: Affine) -> Any:  # noqa: ANN401 - SimpleITK is untyped
    sitk = _itk()
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
    _place(image, affine)
    return image


def _place(image: Any, affine: Affine) -> None:  # noqa: ANN401 - SimpleITK is untyped
    lps = RAS_FROM_LPS @ affine.matrix
    image.SetSpacing(affine.spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / np.asarray(affine.spacing)).ravel().tolist())


def _small(volume: Volume) -> Any:  # noqa: ANN401 - SimpleITK is untyped
    """Return a volume's values from 0 up, smoothed and coarser, with cubic voxels."""
    sitk = _itk()
    sides = np.asarray(volume.shape) * np.asarray(volume.affine.spacing)
    step = max(float(sides.max()) / _LONGEST_SIDE, min(volume.affine.spacing))
    values = volume.array[0] - volume.array[0].min()
    image = _to_image(values, volume.affine)
    sigmas = [max(0.5 * (step - spacing), 1e-3 * spacing) for spacing in volume.affine.spacing]
    image = sitk.DiscreteGaussian(image, variance=[sigma**2 for sigma in sigmas], maximumKernelWidth=32)
    size = [max(2, round(float(side) / step)) for side in sides]
    grid = sitk.Image(size, sitk.sitkFloat32)
    spacing = sides / np.asarray(size)
    matrix = volume.affine.matrix.copy()
    matrix[:3, :3] = volume.affine.direction * spacing
    matrix[:3, 3] = volume.affine.to_world(0.5 * (spacing / np.asarray(volume.affine.spacing) - 1))
    _place(grid, Affine(matrix))
    extended = sitk.ResampleImageFilter()
    extended.SetReferenceImage(grid)
    extended.SetInterpolator(sitk.sitkLinear)
    extended.UseNearestNeighborExtrapolatorOn()
    return extended.Execute(image)


def _starts(fixed: Any, moving: Any) -> list[Any]:  # noqa: ANN401 - SimpleITK is untyped
    sitk = _itk()
    centres = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    as_stored = sitk.Euler3DTransform()
    as_stored.SetCenter(sitk.Euler3DTransform(centres).GetCenter())
    return [as_stored, centres]


def _resampled(image: Any, grid: Any, matrix: NDArray[np.float64], how: int, outside: float) -> Any:  # noqa: ANN401
    sitk = _itk()
    lps = RAS_FROM_LPS @ matrix @ RAS_FROM_LPS
    motion = sitk.AffineTransform(3)
    motion.SetMatrix(lps[:3, :3].ravel().tolist())
    motion.SetTranslation(lps[:3, 3].tolist())
    return sitk.Resample(image, grid, motion, how, outside, image.GetPixelID())


def _to_matrix(motion: Any) -> NDArray[np.float64]:  # noqa: ANN401 - SimpleITK is untyped
    """Return an ITK motion of points, LPS+, as (4, 4), RAS+."""
    zero = np.asarray(motion.TransformPoint((0.0, 0.0, 0.0)))
    lps = np.eye(4)
    lps[:3, 3] = zero
    for axis, unit in enumerate(np.eye(3).tolist()):
        lps[:3, axis] = np.asarray(motion.TransformPoint(unit)) - zero
    matrix: NDArray[np.float64] = RAS_FROM_LPS @ lps @ RAS_FROM_LPS
    return matrix


def _mutual_information(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    joint, _, _ = np.histogram2d(a, b, bins=_BINS)
    share = joint / joint.sum()
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    inside = share > 0
    return float((share[inside] * np.log2(share[inside] / apart[inside])).sum())
