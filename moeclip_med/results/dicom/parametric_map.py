"""DICOM Parametric Map (PS3.3, A.75): the scores as float32, on the source frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from highdicom import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from moeclip_med.results.dicom.common import finish, series_arguments, to_frames
from moeclip_med.results.formats import ResultFormat

if TYPE_CHECKING:
    from moeclip_med.results.dicom.identity import Identity
    from moeclip_med.results.dicom.sources import Sources
    from moeclip_med.scoring.anomaly import AnomalyVolume


def make_parametric_map(anomaly: AnomalyVolume, sources: Sources, identity: Identity) -> ParametricMap:
    """The scores as a Parametric Map: class activation without unit, 0 to 1, content qualification RESEARCH.

    Args:
        anomaly: A scored DICOM volume.
        sources: What it was made from.
        identity: Who made it.

    Returns:
        The object, ready to be saved.
    """
    mapping = RealWorldValueMapping(
        lut_label="ANOMALY_SCORE",
        lut_explanation="Anomaly score, 0 to 1",
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.DCM.ClassActivation,
    )
    parametric_map = ParametricMap(
        source_images=sources.placeholders,
        pixel_array=to_frames(anomaly.scores).astype(np.float32, copy=False),
        sop_instance_uid=identity.instance_uid(ResultFormat.PM),
        instance_number=1,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label="ANOMALY",
        content_description="Anomaly scores, research use only",
        content_qualification="RESEARCH",
        **series_arguments(identity, ResultFormat.PM),
    )
    parametric_map.Laterality = sources.image.get("Laterality")  # 2C, of paired organs (PS3.3, C.7.3.1)
    finish(parametric_map, identity, ResultFormat.PM, sources)
    return parametric_map
