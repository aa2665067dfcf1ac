"""The scoring process with a detector that needs no weights: what is bright is abnormal. Started by the tests.

What is heavy is imported when it is first needed, so tests of the process itself start it in a moment.
"""

import os
import sys
import time
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

from moeclip_transforms.errors import InputError

SECONDS_PER_SLICE = {"slow": 0.03, "held": 0.03}
"""By the model's name; other models take no time."""


class FakeDetector:
    """Score = brightness, on the slices' own pixels; takes its time like a network."""

    identity = "0" * 64
    notes = ()
    crops_foreground = False
    engine = SimpleNamespace(name="fake", description="no network", batch_size=8, fallback_reason="")

    def __init__(self, name, gate=None):
        self.name = name
        self.gate = gate
        self.batches = 0

    @cached_property
    def metadata(self):
        from moeclip_med.model.named_architectures import lite_architecture
        from moeclip_med.weights.metadata import ModelMetadata, ScoreScale, Threshold

        return ModelMetadata(
            name=self.name,
            version="0",
            architecture=lite_architecture(),
            score_scale=ScoreScale(centre=0.0, spread=1.0),
            threshold=Threshold(0.8, "made up"),
            licence="none",
        )

    def map_slices(self, slices, _box=None, *, want_routing=False):
        import torch

        self.batches += 1
        while self.gate is not None and self.batches > 1 and not self.gate.exists():
            time.sleep(0.01)
        time.sleep(SECONDS_PER_SLICE.get(self.name, 0.0) * len(slices))
        brightness = slices.mean(dim=1)
        routing = None
        if want_routing:
            expert = 1 + (brightness * 2.99).to(torch.uint8)  # the fourth takes nothing
            routing = torch.stack([expert, 4 - expert], dim=1)
        return SimpleNamespace(raw=torch.logit(brightness, eps=1e-4), routing=routing)


def load(request):
    while request.model.startswith("gated") and not Path(request.prompt).exists():
        time.sleep(0.01)
    if request.model in ("missing", "gated and missing"):
        raise InputError('the weights of "missing" are not on this machine; fetch them first.')
    if request.model == "broken":
        raise RuntimeError("a library quotes Doe^Jane")
    if request.model == "fatal":
        sys.stderr.write("a library quotes Doe^Jane\n")
        sys.stderr.flush()
        os._exit(3)
    return FakeDetector(request.model, Path(request.prompt) if request.model == "held" else None)


if __name__ == "__main__":
    from napari_moeclip import models, server
    from napari_moeclip.answers import LoadedModelInfo, ModelDescription

    server._step_back = lambda: None  # on a busy machine the tests would wait for it
    models.load = load
    models.info_of = lambda detector: LoadedModelInfo(detector.name, 0.8, 2, 4)
    models.describe = lambda name: ModelDescription(name, True, f"{name}: no file", name != "lite")
    server.main()
