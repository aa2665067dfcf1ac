"""Write simulated volumes as the files a user would have: NIfTI, and a DICOM MR series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_nifti(path: Path | str, image: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a volume as NIfTI.

    Args:
        path: The file, ending in `.nii.gz` or `.nii`.
        image: (x, y, z).
        affine: 4x4, mm, RAS+.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), path)


def write_dicom_series(
    folder: Path | str, image: NDArray[np.int16], affine: NDArray[np.float64], description: str
) -> None:
    """Write a volume as an axial MR series, one file per slice (PS3.3 A.4), LPS+ as DICOM demands.

    Args:
        folder: The folder to fill with `slice-001.dcm` and so on.
        image: (x, y, z) int16.
        affine: 4x4, mm, RAS+; axes may run in any direction.
        description: The SeriesDescription; it has to say that the image is simulated.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    to_lps = ornt_transform(io_orientation(affine), axcodes2ornt("LPS"))
    oriented = apply_orientation(image, to_lps)
    lps = _LPS_FROM_RAS @ affine @ inv_ornt_aff(to_lps, image.shape)
    study, series, frame_of_reference = (
        generate_uid(entropy_srcs=[description, level]) for level in ("study", "series", "frame of reference")
    )
    for index in range(oriented.shape[2]):
        dataset = _header(lps, index, oriented.shape, description)
        dataset.StudyInstanceUID = study
        dataset.SeriesInstanceUID = series
        dataset.FrameOfReferenceUID = frame_of_reference
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[description, str(index)])
        dataset.PixelData = np.ascontiguousarray(oriented[:, :, index].T).astype("<i2").tobytes()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.save_as(folder / f"slice-{index + 1:03d}.dcm", enforce_file_format=True)


def _header(lps: NDArray[np.float64], index: int, shape: tuple[int, ...], description: str) -> Dataset:
    """Make the header of one slice: patient, image plane and pixel modules of an MR image."""
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.Modality = "MR"
    dataset.Manufacturer = "simulated"
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.PatientName = "SIMULATED^VOLUME"
    dataset.PatientID = "SIMULATED"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.StudyDate = dataset.StudyTime = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = description
    dataset.BodyPartExamined = "BRAIN"
    dataset.PatientPosition = "HFS"
    dataset.PositionReferenceIndicator = ""
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "3D"
    dataset.EchoTime = dataset.EchoTrainLength = None
    dataset.InstanceNumber = index + 1
    dataset.ImagePositionPatient = [round(float(value), 6) for value in (lps @ [0, 0, index, 1])[:3]]
    dataset.ImageOrientationPatient = [float(value) for value in (*direction[:, 0], *direction[:, 1])]
    dataset.PixelSpacing = [float(spacing[1]), float(spacing[0])]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = float(spacing[2])
    dataset.Columns, dataset.Rows = int(shape[0]), int(shape[1])
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    return dataset
