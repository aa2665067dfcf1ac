"""Simulated images whose lesions are known: for the demo, the sample data and the documentation pictures."""

from moeclip_med.demo.brain import SimulatedBrain, simulate_brain
from moeclip_med.demo.endoscopy import simulate_endoscopy
from moeclip_med.demo.files import write_dicom_series, write_nifti

__all__ = ["SimulatedBrain", "simulate_brain", "simulate_endoscopy", "write_dicom_series", "write_nifti"]
