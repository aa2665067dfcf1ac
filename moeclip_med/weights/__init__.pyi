from .loading import LoadedModel as LoadedModel
from .loading import load_model as load_model
from .metadata import (
    ModelMetadata as ModelMetadata,
)
from .metadata import (
    ScoreScale as ScoreScale,
)
from .metadata import (
    Threshold as Threshold,
)
from .metadata import (
    TrainingData as TrainingData,
)
from .store import save_model as save_model
