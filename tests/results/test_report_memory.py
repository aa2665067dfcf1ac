"""A mammogram's report: its pictures are as large as a page shows, no larger."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from moeclip_med.results.report import panels


@pytest.mark.parametrize("shape", [(4320, 3600), (100, 5000), (300, 200)])
def test_pictures_are_no_larger_than_a_page_shows(shape):
    rng = np.random.default_rng(0)
    for uri in (
        panels.image_uri(rng.random((1, *shape), dtype=np.float32)),
        panels.overlay_uri(rng.random(shape, dtype=np.float32), 0.5),
    ):
        picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        scale = min(1.0, panels.LONGEST_SIDE / max(shape))
        assert picture.size == (round(shape[1] * scale), round(shape[0] * scale))
