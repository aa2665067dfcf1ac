"""The scoring process with a detector that needs no weights: what is bright is abnormal. Started by the tests."""

import sys
import time
from types import SimpleNamespace

import torch
from moeclip_transforms import InputError

import moeclip_med.scoring.scorer  # noqa: F401 - keeps `moeclip_med.scoring` from loading the real detector
from moeclip_med.model.architecture import lite_architecture
from moeclip_med.weights.metadata import ModelMetadata, ScoreScale, Threshold

SECONDS_PER_SLICE = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0


class FakeDetector:
    """Score = brightness, on the slices' own pixels; takes its time like a network."""

    identity = "0" * 64
    notes = ()
    frames_foreground = False
    engine = SimpleNamespace(name="fake", description="no network", batch_size=8)

    def __init__(self, name):
        self.metadata = ModelMetadata(
            name=name,
            version="0",
            architecture=lite_architecture(),
            score_scale=ScoreScale(centre=0.0, spread=1.0),
            threshold=Threshold(0.8, "made up"),
            licence="none",
        )

    def map_slices(self, slices, _box=None, *, want_routing=False):
        time.sleep(SECONDS_PER_SLICE * len(slices))
        brightness = slices.mean(dim=1)
        routing = None
        if want_routing:
            expert = (brightness * 3.99).to(torch.uint8)
            routing = torch.stack([expert, 3 - expert], dim=1)
        return SimpleNamespace(raw=torch.logit(brightness, eps=1e-4), routing=routing)


def load(request):
    if request.model == "missing":
        msg = 'the weights of "missing" are not on this machine; fetch them first.'
        raise InputError(msg)
    if request.model == "broken":
        msg = "a bug"
        raise RuntimeError(msg)
    return FakeDetector(request.model)


if __name__ == "__main__":
    from napari_moeclip import models, server
    from napari_moeclip.messages import LoadedModelInfo, ModelDescription

    models.load = load
    models.info_of = lambda detector: LoadedModelInfo(detector.metadata.name, 0.8, "made up", False, 2, 4, "no network")
    models.describe = lambda name: ModelDescription(name, True, f"{name}: no file", name != "lite")
    server.main()
