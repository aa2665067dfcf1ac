"""The DICOM results of one volume, written from one reading of the source headers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

from moeclip_med.results.dicom.identity import make_identity
from moeclip_med.results.dicom.parametric_map import make_parametric_map
from moeclip_med.results.dicom.refusal import UncitableError, refusals
from moeclip_med.results.dicom.report_document import make_report_document
from moeclip_med.results.dicom.secondary_capture import make_secondary_captures
from moeclip_med.results.dicom.segmentation import make_segmentation
from moeclip_med.results.dicom.sources import load_sources
from moeclip_med.results.formats import RESULT_NAMES, ResultFormat

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from moeclip_med.scoring.anomaly import AnomalyVolume


def write_dicom(anomaly: AnomalyVolume, folder: Path, formats: Collection[ResultFormat]) -> None:
    """Write DICOM results into a folder.

    Args:
        anomaly: A scored volume that was read from DICOM; its source files must still be there.
        folder: An existing folder.
        formats: Any of `seg` (asks for at least one finding), `pm`, `sr` (asks for `seg` where there are findings)
            and `sc`.

    Raises:
        InputError: Where the input is not DICOM.
        UncitableError: Where its headers lack what a result must cite.
    """
    for reason in refusals(anomaly.volume, formats).values():
        raise InputError(reason)
    try:
        with warnings.catch_warnings():
            # highdicom quotes names of one component in a warning: no name of a patient may reach a log
            warnings.filterwarnings("ignore", message="The string .* person name", category=UserWarning)
            _write(anomaly, folder, formats)
    except (AttributeError, ValueError) as error:  # highdicom refuses sources that would make an invalid object
        if isinstance(error, InputError):
            raise
        name = anomaly.volume.frames[0].path.name
        msg = (
            f"{name}: this source cannot be cited in a DICOM result ({error}); leave seg, pm, sr and sc out for this "
            "series."
        )
        raise UncitableError(msg) from error


def _write(anomaly: AnomalyVolume, folder: Path, formats: Collection[ResultFormat]) -> None:
    identity = make_identity(anomaly)
    sources = load_sources(anomaly.volume, identity)
    segmentation = make_segmentation(anomaly, sources, identity) if ResultFormat.SEG in formats else None
    if segmentation is not None:
        segmentation.save_as(folder / RESULT_NAMES[ResultFormat.SEG])
    if ResultFormat.PM in formats:
        make_parametric_map(anomaly, sources, identity).save_as(folder / RESULT_NAMES[ResultFormat.PM])
    if ResultFormat.SR in formats:
        document = make_report_document(anomaly, sources, identity, segmentation)
        document.save_as(folder / RESULT_NAMES[ResultFormat.SR])
    if ResultFormat.SC in formats:
        captures = folder / RESULT_NAMES[ResultFormat.SC]
        captures.mkdir()
        for number, capture in enumerate(make_secondary_captures(anomaly, sources, identity), start=1):
            capture.save_as(captures / f"{number:04d}.dcm")
