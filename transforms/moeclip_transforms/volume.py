"""One volume, from reading to writing, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from monai.data.meta_tensor import MetaTensor
    from numpy.typing import ArrayLike, NDArray
    from SimpleITK import Image
    from torch import Tensor

    from moeclip_transforms.dicom_frame import Frame
    from moeclip_transforms.geometry import Affine


class ImageType(StrEnum):
    """The image types that have a preset; what a header tells, or a user says."""

    CT_BRAIN = "ct-brain"
    CT_SOFT_TISSUE = "ct-soft-tissue"
    CT_LUNG = "ct-lung"
    MR = "mr"
    ENDOSCOPY = "endoscopy"
    OCT = "oct"
    PLAIN = "plain"

    @classmethod
    def _missing_(cls, value: object) -> ImageType:
        raise InputError(f'"{value}" is no image type; choose from {", ".join(cls)}.')


class Plane(StrEnum):
    """Along which plane a volume is cut into slices."""

    AUTO = "auto"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    ALL = "all"

    @classmethod
    def _missing_(cls, value: object) -> Plane:
        raise InputError(f'"{value}" is no plane; choose from {", ".join(cls)}.')


class FileFormat(StrEnum):
    """The family of file a series is stored in, which decides who reads it."""

    DICOM = "dicom"
    NIFTI = "nifti"
    ITK = "itk"
    IMAGE = "image"
    OTHER = "other"
    """A format that another package reads; see `Series.reader`."""
    ARRAY = "array"
    """No file: an array in memory."""


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
        image_type: The image type that the header suggests.
        study_uid: StudyInstanceUID, or "".
        shape: (x, y, z, time) as declared by the headers: columns, rows, slices, time points.
        channels: 1 for grey, 3 for colour.
        is_cine: True where the third axis is time (endoscopy, ultrasound): frames, not slices of a body.
        skip_reason: Why this is not worth scoring (scout, dose report, document, own result), or "".
        description: SeriesDescription. May hold patient data: shown on the terminal only, never logged.
        reader: The name under which its reader is registered ("moeclip_med.readers"); "" for the format's own.
        notes: What the scan had to say, one sentence each: what was assumed, and what is in no volume.
        volumes: For DICOM, the frames of each time point, sorted: what reading goes by.
    """

    uid: str
    format: FileFormat
    files: tuple[Path, ...]
    modality: str
    image_type: ImageType
    study_uid: str
    shape: tuple[int, int, int, int]
    channels: int
    is_cine: bool = False
    skip_reason: str = ""
    description: str = ""
    reader: str = ""
    notes: tuple[str, ...] = ()
    volumes: tuple[tuple[Frame, ...], ...] = field(default=(), repr=False, compare=False)

    @property
    def is_colour(self) -> bool:
        """Whether its voxels have red, green and blue."""
        return self.channels > 1


class Grid(Protocol):
    """Where voxels lie: what functions of geometry need of a `Volume`, and what a viewer knows without its voxels."""

    @property
    def affine(self) -> Affine:
        """Voxel to world, mm, RAS+."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape, (x, y, z)."""
        ...

    @property
    def slice_axis(self) -> int:
        """The axis (0, 1 or 2) along which it was acquired."""
        ...

    @property
    def has_orientation(self) -> bool:
        """Whether the affine says where the patient is."""
        ...

    @property
    def is_regular(self) -> bool:
        """Whether the affine puts every slice in its place."""
        ...

    @property
    def frame_geometry(self) -> tuple[FrameGeometry, ...]:
        """The place of each acquired slice, where known."""
        ...


@dataclass(frozen=True)
class SourceRef:
    """All that is known of an input, gathered once while it is read: no file of it is opened again.

    Attributes:
        series: What the headers said before a voxel was read.
        sha256: Hash of the content: over the sorted hashes of the input files, so that names and order do not
            matter; over type, shape and values where the input was an array.
        time_point: The zero-based time point that was read of a 4-D file.
        frames: For DICOM, one reference per index of z; else empty.
        headers: For DICOM, the encoded header (all that comes before the pixels) of each file, in the order in which
            `frames` first names it. They may hold names: for writers of DICOM objects only.
        nifti_code: The coordinate system code (sform, else qform) of a NIfTI input; 0 for others.
    """

    series: Series
    sha256: str
    time_point: int = 0
    frames: tuple[FrameReference, ...] = ()
    headers: tuple[bytes, ...] = field(default=(), repr=False)
    nifti_code: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """One image volume, as acquired, with its geometry checked.

    Axes are (channel, x, y, z). For DICOM x counts columns, y rows and z the slices sorted by position along the
    slice normal; for NIfTI the axes are the file's own; for plain images x counts columns, y rows and z images.
    Two volumes are equal when values, geometry and source are.

    Attributes:
        tensor: (channel, x, y, z) float32; CT in HU, else the stored values after rescale.
        affine: Voxel to world, mm, RAS+.
        source: Where it came from.
        slice_axis: The volume axis (0, 1 or 2) along which it was acquired.
        has_orientation: False where the file holds no patient orientation (photographs, some captures): the
            affine is then pixel spacing only, and no R/L/A/P letters may be shown.
        has_voxel_size: Whether the spacing is in mm although there is no orientation; see `has_spacing`.
        is_regular: False where no single affine puts every slice in its place (gantry tilt, uneven gaps, missing
            slices); `affine` is then the best fit, and results are resampled from `frame_geometry`.
        padding_mask: (x, y, z) bool, True where the scanner wrote padding instead of measurement; None if nowhere.
        frame_geometry: For DICOM with orientation, one per index of z; else empty.
        display_range: Lowest and highest value of an image stored ready for display (8-bit photographs); else None.
        notes: What the reader had to say about this series, one sentence each; shown to the user and recorded.
    """

    tensor: Tensor
    affine: Affine
    source: SourceRef
    slice_axis: int = 2
    has_orientation: bool = True
    has_voxel_size: bool = False
    is_regular: bool = True
    padding_mask: NDArray[np.bool_] | None = None
    frame_geometry: tuple[FrameGeometry, ...] = ()
    display_range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_array(
        cls,
        array: ArrayLike | Tensor | Image,
        affine: Affine | ArrayLike | None = None,
        *,
        image_type: ImageType | str | None = None,
        axes: str = "",
        slice_axis: int | None = None,
        name: str = "array",
    ) -> Volume:
        """Make a volume from a NumPy array, a tensor, a MONAI `MetaTensor` or a SimpleITK image.

        Args:
            array: The values; a `MetaTensor` and a SimpleITK image bring their affine along.
            affine: Voxel (x, y, z) to world, mm, RAS+; without one, the volume has no orientation.
            image_type: The image type; "plain" if None.
            axes: The meaning of each axis of an array, a letter each: "c" for channels, then "x", "y", "z". By
                default "xy", "xyz" or "cxyz" by their number; a photograph of (row, column, colour) is "yxc".
            slice_axis: The axis (of x, y, z) along which it was acquired; if None, the coarsest, else the last.
            name: What messages and results call it.

        Raises:
            InputError: When number, meaning or size of the axes do not make an image, or the affine is none.
        """
        from moeclip_transforms.conversion import volume_from_array

        return volume_from_array(array, affine, image_type=image_type, axes=axes, slice_axis=slice_axis, name=name)

    def to_monai(self) -> MetaTensor:
        """Return the volume as MONAI's tensor, (channel, x, y, z), sharing the values, with a RAS+ affine."""
        from moeclip_transforms.conversion import to_monai

        return to_monai(self)

    @property
    def array(self) -> NDArray[np.float32]:
        """The values as a NumPy array, (channel, x, y, z), without a copy."""
        array: NDArray[np.float32] = self.tensor.numpy()
        return array

    @property
    def shape(self) -> tuple[int, int, int]:
        """The spatial shape, (x, y, z)."""
        _, x, y, z = self.tensor.shape
        return (x, y, z)

    @property
    def has_spacing(self) -> bool:
        """Whether the size of a voxel is known in mm; where it is not (photographs), results are in pixels."""
        return self.has_orientation or self.has_voxel_size

    @property
    def series(self) -> Series:
        """What the headers said before a voxel was read."""
        return self.source.series

    @property
    def frames(self) -> tuple[FrameReference, ...]:
        """For DICOM, one reference per index of z; else empty."""
        return self.source.frames

    def __repr__(self) -> str:
        """Return one line without values, names or paths."""
        steps = " × ".join(f"{step:.3g}" for step in self.affine.spacing)
        spacing = f"spacing {steps} mm" if self.has_spacing else "no spacing"
        return f"<Volume {tuple(self.tensor.shape)}, {self.series.image_type}, {spacing}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Volume):
            return NotImplemented
        return self._facts() == other._facts() and _same(self.array, other.array) and _same_mask(self, other)

    def __hash__(self) -> int:
        return hash((self.source.sha256, self.affine, self.shape))

    def _facts(self) -> tuple[object, ...]:
        """All attributes but the arrays."""
        arrays = ("tensor", "padding_mask")
        return tuple(getattr(self, one.name) for one in fields(self) if one.name not in arrays)


def _same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    return one.shape == other.shape and all(
        np.array_equal(one[..., index], other[..., index], equal_nan=True) for index in range(one.shape[-1])
    )


def _same_mask(one: Volume, other: Volume) -> bool:
    if one.padding_mask is None or other.padding_mask is None:
        return one.padding_mask is other.padding_mask
    return bool(np.array_equal(one.padding_mask, other.padding_mask))
