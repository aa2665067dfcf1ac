from .archives import ArchiveLimits as ArchiveLimits
from .array import CropForegroundSquare as CropForegroundSquare
from .array import SliceAlongPlane as SliceAlongPlane
from .array import WindowIntensity as WindowIntensity
from .dicom_frame import Frame as Frame
from .dictionary import CropForegroundSquared as CropForegroundSquared
from .dictionary import SliceAlongPlaned as SliceAlongPlaned
from .dictionary import WindowIntensityd as WindowIntensityd
from .errors import InputError as InputError
from .errors import MissingExtraError as MissingExtraError
from .errors import NoticeWarning as NoticeWarning
from .foreground import SquareBox as SquareBox
from .foreground import foreground_box as foreground_box
from .geometry import Affine as Affine
from .geometry import resample_to_orthogonal as resample_to_orthogonal
from .intensity import Window as Window
from .intensity import fit_window as fit_window
from .monai_reader import SeriesReader as SeriesReader
from .presets import preset as preset
from .slicing import EdgeLetters as EdgeLetters
from .slicing import SliceView as SliceView
from .slicing import slice_views as slice_views
from .source import ImageSource as ImageSource
from .source import open_source as open_source
from .source import read_volume as read_volume
from .volume import (
    FileFormat as FileFormat,
)
from .volume import (
    FrameGeometry as FrameGeometry,
)
from .volume import (
    FrameReference as FrameReference,
)
from .volume import Grid as Grid
from .volume import (
    ImageType as ImageType,
)
from .volume import (
    Plane as Plane,
)
from .volume import (
    Series as Series,
)
from .volume import SourceRef as SourceRef
from .volume import (
    Volume as Volume,
)
