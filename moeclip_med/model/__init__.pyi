from .architecture import Architecture as Architecture
from .network import MoEClip as MoEClip
from .outputs import NetworkOutput as NetworkOutput
from .outputs import TrainingOutput as TrainingOutput
from .prompts import Prompts as Prompts
