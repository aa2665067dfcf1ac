"""Small data sets in the published layouts, and a detector whose figures are known."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from moeclip_med.benchmark.systems import DetectorSystem
from moeclip_med.weights.metadata import ScoreScale, Threshold


def save_image(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def save():
    return save_image


class BlurredBrightness:
    """Stands in for a detector: brightness averaged over 5 x 5 pixels, its score scale around one half."""

    crops_foreground = True

    def __init__(self, bad: float | None = None):
        self.bad = bad
        self.calls = 0
        self.identity = "0" * 64
        self.notes = ()
        self.engine = SimpleNamespace(
            name="torch", description="test engine", image_scores=None, batch_size=8, fallback_reason=""
        )
        self.metadata = SimpleNamespace(
            name="blurred-brightness",
            version="1",
            score_scale=ScoreScale(0.5, 0.1),
            threshold=Threshold(0.7, "chosen for a test"),
            threshold_for=lambda _: Threshold(0.7, "chosen for a test"),
            prompts=None,
            training_data=(),
            weak_kinds={},
            architecture=SimpleNamespace(tower=SimpleNamespace(kind="timm", name="none")),
        )

    def map_slices(self, slices, box=None, *, want_routing=False):
        self.calls += 1
        raw = torch.nn.functional.avg_pool2d(slices.mean(1, keepdim=True), 5, 1, 2)[:, 0]
        if self.bad is not None and float(slices.max()) > self.bad:
            raw[..., 0, 0] = float("nan")
        routing = ((raw[:, None] > 0.4).to(torch.uint8) + 1).expand(-1, 3, -1, -1)
        return SimpleNamespace(raw=raw, routing=routing)


@pytest.fixture(scope="session")
def make_detector():
    def make(bad=None):
        placeholder = BlurredBrightness(bad)
        return DetectorSystem(lambda prompt, *, is_industrial: placeholder)

    return make


def lesion_image(rng, *, abnormal: bool, side: int = 64):
    """An image with dark borders, a grey body with noise, and a brighter square where it is abnormal."""
    image = np.zeros((side, side))
    image[8:-8, 8:-8] = rng.normal(90, 12, (side - 16, side - 16)).clip(30, 160)
    mask = np.zeros((side, side), dtype=np.uint8)
    if abnormal:
        row, column = rng.integers(12, side - 24, 2)
        mask[row : row + 10, column : column + 12] = 255
        image[mask > 0] += 60
    return image.clip(0, 255), mask


@pytest.fixture(autouse=True, scope="session")
def own_looks(tmp_path_factory):
    """A record of looks of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECLIP_MED_DATA", str(tmp_path_factory.mktemp("looks")))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors on a busy machine: threads would wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def write_patients():
    return _write_patients


@pytest.fixture
def patient_folder(tmp_path):
    return _write_patients(tmp_path / "own")


def _write_patients(root: Path, patients: int = 12) -> Path:
    """Patients with five images each, `NNN_mask.png` beside the abnormal ones and beside some normal ones."""
    rng = np.random.default_rng(0)
    for patient in range(patients):
        for number in range(5):
            image, mask = lesion_image(rng, abnormal=number < 3)
            save_image(root / f"patient {patient:02}" / f"{number:03}.png", image)
            if number != 4:
                save_image(root / f"patient {patient:02}" / f"{number:03}_mask.png", mask)
    return root
