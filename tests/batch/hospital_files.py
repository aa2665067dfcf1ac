"""Archives as hospitals keep them, written to a folder."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from uids import next_uid


@dataclass
class Patient:
    """One patient, every value of whom has to stay out of what is written."""

    name: str = "Featherstonehaugh^Wilhelmina"
    patient_id: str = "MRN-0047113"
    birth_date: str = "19510214"
    study_date: str = "20240229"
    accession: str = "ACC9934021"
    physician: str = "Quisenberry^Ottokarine"
    institution: str = "Saint Ethelburga"
    description: str = "follow up of Mrs Featherstonehaugh"
    study_uid: str = field(default_factory=next_uid)
    uids: list[str] = field(default_factory=list)

    def identifying(self) -> list[str]:
        parts = [*self.name.split("^"), *self.physician.split("^")]
        return [
            *parts, self.patient_id, self.birth_date, self.study_date, self.accession, self.institution,
            self.description, self.study_uid, *self.uids,
        ]  # fmt: skip


def write_series(
    folder: Path,
    patient: Patient,
    *,
    modality: str = "MR",
    shape: tuple[int, int, int] = (24, 20, 5),
    blob: int = 800,
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL"),
    suffix: str = "",
    seed: int = 0,
) -> str:
    """Write a single-frame series with a bright square in the middle; gives its UID."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, slices = shape
    series_uid, frame_uid = next_uid(), next_uid()
    patient.uids += [series_uid, frame_uid]
    rng = np.random.default_rng(seed)
    for index in range(slices):
        pixels = rng.integers(80, 120, (rows, columns)).astype("<i2")
        pixels[:2] = 0
        pixels[rows // 3 : rows // 2 + 2, columns // 3 : columns // 2 + 2] = blob
        dataset = _header(patient, modality, image_type)
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = series_uid, frame_uid
        dataset.InstanceNumber = slices - index
        dataset.ImagePositionPatient = [-30.0, -30.0, 4.0 * index]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [2.5, 2.5]
        dataset.SliceThickness = 4.0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelData = pixels.tobytes()
        patient.uids.append(dataset.SOPInstanceUID)
        dataset.save_as(folder / f"IM{index:04d}{suffix}", enforce_file_format=True)
    return series_uid


def _header(patient: Patient, modality: str, image_type: tuple[str, ...]) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = next_uid()
    dataset.PatientName, dataset.PatientID = patient.name, patient.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = patient.birth_date, "F"
    dataset.StudyDate, dataset.SeriesDate = patient.study_date, patient.study_date
    dataset.StudyTime, dataset.StudyID = "101112", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = patient.accession, patient.physician
    dataset.InstitutionName = patient.institution
    dataset.StudyDescription = dataset.SeriesDescription = patient.description
    dataset.StudyInstanceUID = patient.study_uid
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber = modality, "Maker", 3
    dataset.ImageType = list(image_type)
    dataset.PositionReferenceIndicator = ""
    return dataset


def write_nifti(path: Path, *, shape: tuple[int, int, int] = (20, 22, 4), blob: float = 900.0) -> Path:
    """Write a small volume with a bright cube."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    image = rng.integers(80, 120, shape).astype(np.float32)
    x, y, _ = shape
    image[x // 3 : x // 2 + 2, y // 3 : y // 2 + 2] = blob
    source = nib.Nifti1Image(image, np.diag([2.5, 2.5, 4.0, 1.0]))
    source.set_sform(source.affine, 1)
    nib.save(source, path)
    return path


def zip_folder(folder: Path, target: Path) -> None:
    """Put every file of a folder into a zip archive."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())


def build_hospital(folder: Path) -> tuple[Path, list[Patient]]:
    """An archive: two series of one study mixed in one folder, a scout, a zip, a NIfTI, a broken file, junk."""
    root = folder / "archive"
    one, two, three = Patient(), Patient(), Patient()
    two.name, two.patient_id, two.accession = "Oyelaran^Babatunde", "MRN-9981220", "ACC5550001"
    three.name, three.patient_id = "Szczepanski^Grzegorz", "MRN-3141592"
    write_series(root / "2024" / "Featherstonehaugh_Wilhelmina" / "a", one, seed=1)
    write_series(root / "2024" / "Featherstonehaugh_Wilhelmina" / "b", one, suffix=".dcm", seed=2)
    second = root / "2024" / "Featherstonehaugh_Wilhelmina" / "b"
    write_series(second, one, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"),
                 suffix=".scout", shape=(16, 16, 1))  # fmt: skip
    write_series(root / "MRN-9981220", two, modality="CT", blob=1500)
    write_series(folder / "packed", three, seed=3)
    zip_folder(folder / "packed", root / "Szczepanski.zip")
    shutil.rmtree(folder / "packed")
    write_nifti(root / "research" / "Featherstonehaugh_flair.nii.gz")
    (root / "research" / "Featherstonehaugh_broken.nii.gz").write_bytes(b"\x1f\x8b not really")
    (root / "research" / "empty.dcm").write_bytes(b"")
    (root / "README.txt").write_text("scans of Mrs Featherstonehaugh")
    return root, [one, two, three]
