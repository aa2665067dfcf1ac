"""An engine that averages the maps of an image and of the image upside down: `--engine flipping`."""

from dataclasses import replace

from moeclip_med.engines.torch_engine import make_torch


class FlippingEngine:
    """PyTorch twice."""

    name = "flipping"
    fallback_reason = ""

    def __init__(self, model, request):
        self._torch = make_torch(model, request)
        self.description = f"{self._torch.description}, each image also upside down"
        self.batch_size = self._torch.batch_size

    def run(self, images, *, want_routing=False):
        """Map anomalies: images (B, 3, S, S), maps (B, M, M)."""
        upright = self._torch.run(images, want_routing=want_routing)
        flipped = self._torch.run(images.flip(2))
        return replace(upright, maps=(upright.maps + flipped.maps.flip(1)) / 2)


def make(model, request):
    """Return the engine; the entry point names this function."""
    return FlippingEngine(model, request)
