"""The readers, under the product's own name."""

from moeclip_transforms import InputError, open_source, read_volume

__all__ = ["InputError", "open_source", "read_volume"]
