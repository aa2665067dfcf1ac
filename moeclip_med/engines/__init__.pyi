from .base import Engine as Engine
from .choice import make_engine as make_engine
