from .anomaly import AnomalyVolume as AnomalyVolume
from .anomaly import Finding as Finding
from .detector import Detector as Detector
from .detector import SliceMaps as SliceMaps
from .detector import load_detector as load_detector
from .findings import find_findings as find_findings
from .scorer import SliceScores as SliceScores
from .scorer import score_volume as score_volume
