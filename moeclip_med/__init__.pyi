from ._version import __version__ as __version__
from .inputs import InputError as InputError
from .inputs import Volume as Volume
from .inputs import open_source as open_source
from .inputs import read_volume as read_volume
from .results import write_results as write_results
from .scoring import (
    AnomalyVolume as AnomalyVolume,
)
from .scoring import (
    Detector as Detector,
)
from .scoring import (
    Finding as Finding,
)
from .scoring import (
    find_findings as find_findings,
)
from .scoring import (
    load_detector as load_detector,
)
from .scoring import (
    score_volume as score_volume,
)
