from .dicom.refusal import refusals as refusals
from .formats import ResultFormat as ResultFormat
from .writing import result_notes as result_notes
from .writing import write_results as write_results
