"""One volume, from reading to writing, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import NDArray


class ImageKind(StrEnum):
    """The kinds of image that have a preset; what a header tells, or a user says."""

    CT_BRAIN = "ct-brain"
    CT_SOFT_TISSUE = "ct-soft-tissue"
    CT_LUNG = "ct-lung"
    MR = "mr"
    ENDOSCOPY = "endoscopy"
    OCT = "oct"
    PLAIN = "plain"


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
class Volume:
    """One image volume, as acquired, with its geometry checked.

    Axes are (channel, x, y, z). For DICOM x counts columns, y rows and z the slices sorted by position along the
    slice normal; for NIfTI the axes are the file's own; for plain images x counts columns, y rows and z images.

    Attributes:
        image: (channel, x, y, z) float32; CT in HU, else the stored values after rescale. Its `affine` is the
            4x4 voxel-to-world matrix, float64, mm, RAS+.
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
    def affine(self) -> NDArray[np.float64]:
        """The 4x4 voxel-to-world matrix, mm, RAS+."""
        affine: NDArray[np.float64] = self.image.affine.numpy().astype("float64")
        return affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape, (x, y, z)."""
        _, x, y, z = self.image.shape
        return (x, y, z)
