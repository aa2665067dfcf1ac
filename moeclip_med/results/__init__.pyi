from .dicom.refusal import refusals as refusals
from .formats import CodedTerm as CodedTerm
from .formats import DicomOptions as DicomOptions
from .formats import ResultFormat as ResultFormat
from .formats import SegmentationKind as SegmentationKind
from .writing import WrittenResults as WrittenResults
from .writing import result_notes as result_notes
from .writing import write_results as write_results
