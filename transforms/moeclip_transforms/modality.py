"""The modalities that DICOM defines: the only values of Modality that are sure to name no patient."""

from __future__ import annotations

DEFINED_TERMS = frozenset(
    {
        "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CFM", "CR", "CT", "CTPROTOCOL", "DG", "DMS", "DOC", "DX",
        "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FID", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO",
        "LEN", "LS", "M3D", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPM", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT",
        "PA", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN",
        "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "STAIN", "TEXTUREMAP",
        "TG", "US", "VA", "XA", "XAPROTOCOL", "XC",
    }
)  # fmt: skip
"""Defined terms of Modality (0008,0060): PS3.3, C.7.3.1.1.1."""

RETIRED_TERMS = frozenset({"AS", "CD", "CF", "CP", "CS", "DD", "DF", "DM", "DS", "EC", "FA", "FS", "LP", "MA", "MS",
                           "OPR", "ST", "VF"})  # fmt: skip
"""Terms of older editions, which archives still hold."""


def known_modality(text: str) -> str:
    """Return a Modality as DICOM defines it, "" for any other text: some archives keep a name there."""
    term = text.strip().upper()
    return term if term in DEFINED_TERMS or term in RETIRED_TERMS else ""
