from .architecture import Architecture as Architecture
from .network import MoEClip as MoEClip
from .network import NetworkOutput as NetworkOutput
from .network import TrainingOutput as TrainingOutput
from .prompts import Prompts as Prompts
