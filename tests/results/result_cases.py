"""Scored volumes made by hand: a head-like phantom with blobs at known places, in every kind of source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pydicom
import torch
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from moeclip_transforms import Affine, Window, fit_window, slice_views
from moeclip_transforms.dicom_file import opened
from moeclip_transforms.dicom_header import encoded, parse_header
from moeclip_transforms.library_warnings import quietly
from moeclip_transforms.volume import (
    FileFormat,
    FrameGeometry,
    FrameReference,
    ImageType,
    Series,
    SourceRef,
    Volume,
)
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage
from uids import next_uid

from moeclip_med._version import RESULT_SCHEMA
from moeclip_med.scoring.anomaly import AnomalyVolume, Finding
from moeclip_med.scoring.record import (
    EngineRecord,
    InputRecord,
    ModelRecord,
    OutcomeRecord,
    Package,
    ScoringRecord,
    SettingsRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PATIENT_NAME = "Doe^Jane"
PATIENT_ID = "MRN-004711"
THRESHOLD = 0.5
LPS = np.diag([-1.0, -1.0, 1.0])

RECORD = ScoringRecord(
    run_id="0123456789abcdef",
    schema_version=RESULT_SCHEMA,
    software=(Package("moeclip-med", "0.1.0"), Package("torch", "2.0")),
    created="2026-01-02T03:04:05+00:00",
    model=ModelRecord("lite", "1.0", "ab" * 32, (), None, 0.1, 0.2),
    engine=EngineRecord("pytorch", "PyTorch, float32, CPU"),
    input=InputRecord(FileFormat.NIFTI, "", (64, 72, 24), (2.6, 2.5, 6.0), 1, "cd" * 32, 0, True, ()),
    settings=SettingsRecord(
        ImageType.MR,
        Window(0.0, 1000.0),
        ("axial",),
        THRESHOLD,
        "99.5th percentile of normal industrial images",
        is_calibrated=False,
    ),
    outcome=OutcomeRecord(24, 24, 0, "", 1.5),
)


def changed(anomaly: AnomalyVolume, part: str, **changes: Any) -> AnomalyVolume:
    """A scored volume with another value in one part of its record."""
    own = replace(getattr(anomaly.record, part), **changes)
    return replace(anomaly, record=replace(anomaly.record, **{part: own}))


@dataclass(frozen=True)
class Blob:
    """A bright ball: centre in voxels, radius in voxels, highest score."""

    centre: tuple[float, float, float]
    radius: float
    peak: float


def head(shape: tuple[int, int, int], blobs: tuple[Blob, ...] = ()) -> NDArray[np.float32]:
    """An ellipsoid of 400 with texture and a brighter rim, blobs of 900; (x, y, z), whole numbers."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum((part / half) ** 2 for part, half in zip(grid, (0.75, 0.9, 1.1), strict=True)))
    noise = np.random.default_rng(0).normal(0, 1, shape)
    texture = ndimage.gaussian_filter(noise, [2, 2, 0.5]) * 300
    image = np.where(radius < 1, 400 + texture, 0) + np.where((radius > 0.92) & (radius < 1), 350, 0)
    for blob in blobs:
        image += np.where(_distance(shape, blob.centre) < blob.radius, 450, 0)
    return np.round(np.clip(image, 0, 2000)).astype(np.float32)


def score_map(shape: tuple[int, int, int], blobs: tuple[Blob, ...]) -> NDArray[np.float32]:
    """Scores of 0.05 everywhere, rising to each blob's peak; exactly the threshold at about 1.2 radii."""
    scores = np.full(shape, 0.05, dtype=np.float32)
    for blob in blobs:
        bump = blob.peak * np.exp(-0.5 * (_distance(shape, blob.centre) / blob.radius) ** 2)
        scores = np.maximum(scores, bump.astype(np.float32))
    return scores


def _distance(shape: tuple[int, int, int], centre: tuple[float, float, float]) -> NDArray[np.float64]:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    return np.sqrt(((grid - np.array(centre)[:, None, None, None]) ** 2).sum(0))


def score(volume: Volume, blobs: tuple[Blob, ...], **changes: Any) -> AnomalyVolume:
    """Score a volume the way the scorer would, from blobs instead of a network."""
    scores = score_map(volume.shape, blobs)
    labels, count = ndimage.label(scores >= THRESHOLD, structure=np.ones((3, 3, 3)))
    findings = sorted(
        (_finding(scores, labels == label, label, volume) for label in range(1, count + 1)),
        key=lambda finding: -finding.peak_score,
    )
    findings = [replace(finding, rank=rank) for rank, finding in enumerate(findings, start=1)]
    anomaly = AnomalyVolume(
        volume=volume,
        scores=scores,
        labels=labels.astype(np.int32),
        findings=tuple(findings),
        record=RECORD,
    )
    anomaly = changed(
        anomaly, "settings", planes=(slice_views(volume)[0].plane,), window=fit_window(volume, volume.series.image_type)
    )
    return replace(anomaly, **changes)


def _finding(scores: NDArray[np.float32], mask: NDArray[np.bool_], label: int, volume: Volume) -> Finding:
    places = np.argwhere(mask)
    peak = np.unravel_index(np.argmax(np.where(mask, scores, 0)), scores.shape)
    centre = np.average(places, axis=0, weights=scores[mask])
    ras = volume.affine.to_world(centre)
    millilitres = volume.affine.voxel_ml * int(mask.sum())
    axis = volume.slice_axis
    return Finding(
        rank=1,
        label=label,
        volume_ml=millilitres if volume.has_orientation else None,
        voxel_count=int(mask.sum()),
        peak_score=float(scores[mask].max()),
        mean_score=float(scores[mask].mean()),
        peak_voxel=tuple(int(index) for index in peak),
        centre_voxel=tuple(float(value) for value in centre),
        centre_lps_mm=tuple(float(value) for value in LPS @ ras) if volume.has_orientation else None,
        box_start=tuple(int(value) for value in places.min(0)),
        box_stop=tuple(int(value) + 1 for value in places.max(0)),
        slice_range=(int(places[:, axis].min()), int(places[:, axis].max())),
    )


BLOBS = (Blob((20, 40, 9), 5, 0.92), Blob((44, 24, 15), 4, 0.71))


def nifti_volume(
    folder: Path, shape: tuple[int, int, int] = (64, 72, 24), affine: NDArray[np.float64] | None = None
) -> Volume:
    """A NIfTI head with a rotated affine, written to disk and held as a volume."""
    if affine is None:
        turn = _rotation((0.2, 0.4, 1.0), 12)
        affine = np.eye(4)
        affine[:3, :3] = turn @ np.diag([2.6, 2.5, 6.0])
        affine[:3, 3] = (-80, -95, -60)
    image = head(shape, BLOBS)
    path = folder / "Doe_Jane_flair.nii.gz"
    source = nib.Nifti1Image(image, affine)
    source.set_sform(affine, 4)
    nib.save(source, path)
    series = Series(
        uid="n1", format=FileFormat.NIFTI, files=(path,), modality="", image_type=ImageType.MR, study_uid="",
        shape=(*shape, 1), channels=1,
    )  # fmt: skip
    return Volume(torch.from_numpy(image)[None], Affine(affine), SourceRef(series, "cd" * 32, nifti_code=4))


def photo_volume(folder: Path) -> Volume:
    """An RGB photograph: no orientation, no mm."""
    shape = (160, 120, 1)
    rng = np.random.default_rng(1)
    base = ndimage.gaussian_filter(rng.normal(0, 1, (3, *shape)), [0, 6, 6, 0]) * 400
    image = np.clip(base + np.array([190, 90, 80])[:, None, None, None], 0, 255).astype(np.float32).round()
    series = Series(
        uid="p1", format=FileFormat.IMAGE, files=(folder / "polyp.png",), modality="",
        image_type=ImageType.ENDOSCOPY, study_uid="", shape=(*shape, 1), channels=3,
    )  # fmt: skip
    return Volume(torch.from_numpy(image), Affine(np.eye(4)), SourceRef(series, "ef" * 32), has_orientation=False)


def _rotation(axis: tuple[float, float, float], degrees: float) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    unit = np.array(axis) / np.linalg.norm(axis)
    return Rotation.from_rotvec(unit * np.radians(degrees)).as_matrix()


ORIENTATIONS = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 0.0),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), 0.0),
    "oblique": (
        tuple(_rotation((0.3, 1.0, 0.2), 25) @ (1, 0, 0)),
        tuple(_rotation((0.3, 1.0, 0.2), 25) @ (0, 1, 0)),
        0.0,
    ),
    "tilted": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 18.0),
}
"""Row direction, column direction (LPS+), and gantry tilt in degrees: the slices shift along the columns."""


def dicom_volume(folder: Path, orientation: str = "axial", shape: tuple[int, int, int] = (64, 72, 24)) -> Volume:
    """A single-frame CT series on disk, in any orientation, held as the reader would."""
    row, column, tilt = (np.array(part) for part in ORIENTATIONS[orientation])
    normal = np.cross(row, column)
    spacing = (2.6, 2.5, 6.0)
    step = normal * spacing[2] + column * spacing[2] * np.tan(np.radians(float(tilt)))
    image = head(shape, BLOBS)
    study, series_uid, frame_of_reference = next_uid(), next_uid(), next_uid()
    frames, geometry = [], []
    for index in range(shape[2]):
        position = np.array([-80.0, -95.0, -60.0]) + index * step
        dataset = _ct_slice(image[:, :, index].T, position, row, column, spacing)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series_uid
        dataset.FrameOfReferenceUID = frame_of_reference
        dataset.InstanceNumber = shape[2] - index  # not in the order of space
        path = folder / f"IM{index:04d}"
        dataset.save_as(path, enforce_file_format=True)
        frames.append(FrameReference(path, 0, dataset.SOPClassUID, dataset.SOPInstanceUID))
        geometry.append(FrameGeometry(tuple(position), tuple(row), tuple(column)))
    affine = np.eye(4)
    affine[:3, :3] = LPS @ np.stack([row * spacing[0], column * spacing[1], step], axis=1)
    affine[:3, 3] = LPS @ np.array(geometry[0].position)
    series = Series(
        uid=series_uid, format=FileFormat.DICOM, files=tuple(frame.path for frame in frames), modality="CT",
        image_type=ImageType.CT_SOFT_TISSUE, study_uid=study, shape=(*shape, 1), channels=1,
    )  # fmt: skip
    return Volume(
        torch.from_numpy(image)[None],
        Affine(affine),
        dicom_source(series, frames),
        frame_geometry=tuple(geometry),
        is_regular=float(tilt) == 0,
    )


def _ct_slice(
    pixels: NDArray[np.float32],
    position: NDArray[np.float64],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    spacing: tuple[float, float, float],
) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, next_uid()
    dataset.PatientName, dataset.PatientID = PATIENT_NAME, PATIENT_ID
    dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260102", "030405", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "ACC1", ""
    dataset.Modality, dataset.SeriesNumber, dataset.Manufacturer = "CT", 3, "Maker"
    dataset.PositionReferenceIndicator, dataset.PatientPosition = "", "HFS"
    dataset.AcquisitionNumber, dataset.KVP = 1, 120
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]
    dataset.ImageOrientationPatient = [f"{value:.9f}" for value in (*row, *column)]
    dataset.PixelSpacing = [spacing[1], spacing[0]]
    dataset.SliceThickness = spacing[2]
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "HU"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.PixelData = pixels.astype("<i2").tobytes()
    return dataset


def enhanced_volume(folder: Path) -> Volume:
    """The oblique series as one multi-frame file whose frames run against the volume, the first two excluded."""
    volume = dicom_volume(folder, "oblique")
    datasets = [pydicom.dcmread(frame.path) for frame in reversed(volume.frames)]
    enhanced = LegacyConvertedEnhancedCTImage(datasets, next_uid(), 4, next_uid(), 1)
    path = folder / "enhanced.dcm"
    enhanced.save_as(path)
    place = {tuple(frame.position): index for index, frame in enumerate(volume.frame_geometry)}
    numbers = {}
    for number, item in enumerate(enhanced.PerFrameFunctionalGroupsSequence):
        position = [float(value) for value in item.PlanePositionSequence[0].ImagePositionPatient]
        numbers[min(place, key=lambda other: np.abs(np.subtract(other, position)).max())] = number
    kept = range(2, len(volume.frames))
    frames = [
        FrameReference(path, numbers[volume.frame_geometry[z].position], enhanced.SOPClassUID, enhanced.SOPInstanceUID)
        for z in kept
    ]
    affine = volume.affine.matrix.copy()
    affine[:3, 3] += 2 * affine[:3, 2]
    return replace(
        volume,
        tensor=volume.tensor[..., 2:].clone(),
        affine=Affine(affine),
        source=dicom_source(replace(volume.series, uid=enhanced.SeriesInstanceUID, files=(path,)), frames),
        frame_geometry=volume.frame_geometry[2:],
    )


def clip_volume(folder: Path) -> Volume:
    """Six colour frames of an ultrasound cine: no place in space."""
    source = Path(get_testdata_file("examples_ybr_color.dcm"))
    header = pydicom.dcmread(source, stop_before_pixels=True)
    image = photo_volume(folder).tensor[..., :1].repeat(1, 2, 2, 6)
    series = Series(
        uid=header.SeriesInstanceUID, format=FileFormat.DICOM, files=(source,), modality="US",
        image_type=ImageType.PLAIN, study_uid=header.StudyInstanceUID, shape=(320, 240, 6, 1), channels=3, is_cine=True,
    )  # fmt: skip
    frames = [FrameReference(source, k, header.SOPClassUID, header.SOPInstanceUID) for k in range(3, 9)]
    return Volume(image, Affine(np.eye(4)), dicom_source(series, frames), has_orientation=False)


def dicom_source(series: Series, frames: Sequence[FrameReference]) -> SourceRef:
    """What the reader would have gathered."""
    headers = []
    for path in dict.fromkeys(frame.path for frame in frames):
        with opened(path) as file:
            headers.append(encoded(file.stream, parse_header(path, file.stream, force=True)))
    return SourceRef(series, "ab" * 32, frames=tuple(frames), headers=tuple(headers))


def with_edited_headers(anomaly: AnomalyVolume, edit: Callable[[int, pydicom.Dataset], None]) -> AnomalyVolume:
    """A scored volume whose source headers were changed, each by its number."""
    headers = []
    with quietly():  # careless values are what the tests are about
        for index, encoded in enumerate(anomaly.volume.source.headers):
            dataset = pydicom.dcmread(BytesIO(encoded), stop_before_pixels=True)
            edit(index, dataset)
            stream = BytesIO()
            dataset.save_as(stream)
            headers.append(stream.getvalue())
    source = replace(anomaly.volume.source, headers=tuple(headers))
    return replace(anomaly, volume=replace(anomaly.volume, source=source))


@dataclass(frozen=True)
class Written:
    """A scored DICOM volume and the results written from it."""

    anomaly: AnomalyVolume
    paths: dict[str, Path]
    headers: tuple[pydicom.Dataset, ...]

    def read(self, fmt: str) -> pydicom.Dataset:
        """One result, as pydicom reads it."""
        return pydicom.dcmread(self.paths[fmt])


SOURCES = ("axial", "sagittal", "oblique", "tilted", "enhanced", "clip")
PLACED = SOURCES[:-1]
