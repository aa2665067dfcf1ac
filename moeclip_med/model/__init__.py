"""The network: towers, experts, aggregation, projection, prompts and map, one description for every tower."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
