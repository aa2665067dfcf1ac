"""One volume, from reading to writing, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import NDArray
    from torch import Tensor


class ImageKind(StrEnum):
    """The kinds of image that have a preset; what a header tells, or a user says."""

    CT_BRAIN = "ct-brain"
    CT_SOFT_TISSUE = "ct-soft-tissue"
    CT_LUNG = "ct-lung"
    MR = "mr"
    ENDOSCOPY = "endoscopy"
    OCT = "oct"
    PLAIN = "plain"


class Plane(StrEnum):
    """Along which plane a volume is cut into slices."""

    AUTO = "auto"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    ALL = "all"


class FileFormat(StrEnum):
    """The family of file a series is stored in, which decides who reads it."""

    DICOM = "dicom"
    NIFTI = "nifti"
    ITK = "itk"
    IMAGE = "image"


@dataclass(frozen=True)
class FrameReference:
    """One DICOM frame: the file it lies in, and what a result object must cite (PS3.3 C.7.6.16).

    Attributes:
        path: The file.
        frame: Zero-based frame number inside the file (0 for single-frame files).
        sop_class_uid: SOP Class UID of the file.
        sop_instance_uid: SOP Instance UID of the file.
    """

    path: Path
    frame: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class FrameGeometry:
    """Where one acquired slice lies (PS3.3 C.7.6.2), in mm, LPS+.

    Attributes:
        position: Centre of the first transmitted pixel, (3,).
        row_direction: Direction of increasing column index, unit vector, (3,).
        column_direction: Direction of increasing row index, unit vector, (3,).
    """

    position: tuple[float, float, float]
    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]


@dataclass(frozen=True)
class Series:
    """What can be scored as one: found from headers alone, no voxel read yet.

    Attributes:
        uid: SeriesInstanceUID; for other formats a stable identifier made from the file's name.
        format: The family of file.
        files: The files, in no particular order (for DICOM, `Volume.frames` holds the sorted slices).
        modality: DICOM modality ("CT", "MR", "ES", ...), or "" where the format has none.
        kind: The kind of image that the header suggests.
        study_uid: StudyInstanceUID, or "".
        shape: (x, y, z, time) as declared by the headers: columns, rows, slices, time points.
        channels: 1 for grey, 3 for colour.
        is_clip: True where the third axis is time (endoscopy, ultrasound): frames, not slices of a body.
        skip_reason: Why this is not worth scoring (scout, dose report, document, own result), or "".
        description: SeriesDescription. May hold patient data: shown on the terminal only, never logged.
    """

    uid: str
    format: FileFormat
    files: tuple[Path, ...]
    modality: str
    kind: ImageKind
    study_uid: str
    shape: tuple[int, int, int, int]
    channels: int
    is_clip: bool = False
    skip_reason: str = ""
    description: str = ""

    @property
    def is_colour(self) -> bool:
        """Whether its voxels have red, green and blue."""
        return self.channels > 1


@dataclass(frozen=True)
class Voxels:
    """What a `Volume.image` is made from when it is first asked for.

    Importing MONAI takes longer than scoring a volume, so readers hand this over, and `Volume.voxels`, `affine` and
    `meta` do without.

    Attributes:
        values: (channel, x, y, z) float32.
        affine: 4x4 voxel-to-world matrix, float64, mm, RAS+.
        meta: The image's `meta`.
    """

    values: Tensor
    affine: NDArray[np.float64]
    meta: dict[str, Any]

    def as_image(self) -> MetaTensor:
        """The same as MONAI's tensor, sharing the values."""
        from monai.data.meta_tensor import MetaTensor
        from torch import from_numpy

        return MetaTensor(self.values, affine=from_numpy(self.affine.copy()), meta=dict(self.meta))


def image_when_asked(values: Tensor, affine: NDArray[np.float64], meta: dict[str, Any]) -> MetaTensor:
    """What a reader gives a `Volume` as its image: a MetaTensor for all who read `Volume.image`; see `Voxels`."""
    return cast("MetaTensor", Voxels(values, affine, meta))


@dataclass(frozen=True)
class Volume:
    """One image volume, as acquired, with its geometry checked.

    Axes are (channel, x, y, z). For DICOM x counts columns, y rows and z the slices sorted by position along the
    slice normal; for NIfTI the axes are the file's own; for plain images x counts columns, y rows and z images.

    Attributes:
        image: (channel, x, y, z) float32; CT in HU, else the stored values after rescale. Its `affine` is the
            4x4 voxel-to-world matrix, float64, mm, RAS+. Given as `Voxels`, it becomes a MetaTensor when first read.
        series: Where it came from.
        slice_axis: The volume axis (0, 1 or 2) along which it was acquired.
        has_orientation: False where the file holds no patient orientation (photographs, some captures): the
            affine is then pixel spacing only, and no R/L/A/P letters may be shown.
        padding_mask: (x, y, z) bool, True where the scanner wrote padding instead of measurement; None if nowhere.
        frames: For DICOM, one reference per index of z; else empty.
        frame_geometry: For DICOM with orientation, one per index of z; else empty.
        is_regular: False where no single affine puts every slice in its place (gantry tilt, uneven gaps, missing
            slices); `image.affine` is then the best fit, and results are resampled from `frame_geometry`.
        time_point: The zero-based time point that was read of a 4-D file.
        notes: What the reader had to say about this series, one sentence each; shown to the user and recorded.
    """

    image: MetaTensor
    series: Series
    slice_axis: int
    has_orientation: bool = True
    padding_mask: NDArray[np.bool_] | None = None
    frames: tuple[FrameReference, ...] = ()
    frame_geometry: tuple[FrameGeometry, ...] = ()
    is_regular: bool = True
    time_point: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def voxels(self) -> Tensor:
        """The values as a plain tensor, (channel, x, y, z), without MONAI."""
        stored = _stored(self)
        return stored.values if isinstance(stored, Voxels) else stored.as_tensor()

    @property
    def meta(self) -> dict[str, Any]:
        """The image's `meta`, without MONAI."""
        meta: dict[str, Any] = _stored(self).meta
        return meta

    @property
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 voxel-to-world matrix, mm, RAS+."""
        stored = _stored(self)
        affine: NDArray[np.float64] = stored.affine if isinstance(stored, Voxels) else stored.affine.numpy()
        return affine.astype("float64")

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape, (x, y, z)."""
        _, x, y, z = self.voxels.shape
        return (x, y, z)


def _stored(volume: Volume) -> MetaTensor | Voxels:
    return cast("MetaTensor | Voxels", volume.__dict__["image"])


class _ImageWhenAsked:
    """Turns `Voxels` into a MetaTensor when `Volume.image` is first read; anything else is given as it is."""

    def __get__(self, volume: Volume | None, _: type | None = None) -> object:
        if volume is None:
            return self
        stored = _stored(volume)
        if isinstance(stored, Voxels):
            volume.__dict__["image"] = stored.as_image()
        return _stored(volume)

    def __set__(self, volume: Volume, image: object) -> None:
        volume.__dict__["image"] = image


# Behind the dataclass, which would take it for a default value.
Volume.image = _ImageWhenAsked()  # type: ignore[assignment]
