"""The readers, under the product's own name."""

from moeclip_transforms import InputError, Volume, open_source, read_volume

__all__ = ["InputError", "Volume", "open_source", "read_volume"]
