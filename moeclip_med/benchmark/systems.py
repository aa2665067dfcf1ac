"""What is compared: the detector and the baselines, each as a function from slices to raw maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from moeclip_med.benchmark.baselines import BASELINES
from moeclip_med.metrics.binning import Binning

if TYPE_CHECKING:
    from collections.abc import Callable

    from moeclip_transforms import SquareBox, Volume
    from numpy.typing import NDArray
    from torch import Tensor

    from moeclip_med.scoring import Detector

DETECTOR = "detector"
"""The key of the system under test; baselines have their own names."""

_FROC_STEPS = {"detector": np.linspace(-3.0, 12.0, 16), "baseline": np.linspace(-1.6, 1.9, 11)}


@dataclass(frozen=True)
class SystemMaps:
    """What a system says of a batch of slices.

    Attributes:
        raw: (batch, rows, columns) float32, higher is more abnormal.
        image_score: (batch,) float32, a score of the whole image where the system has one.
        routing: (batch, level, rows, columns) uint8, the expert chosen, counted from 1 (0: no patch), where the system
            has experts.
    """

    raw: NDArray[np.float32]
    image_score: NDArray[np.float32] | None = None
    routing: NDArray[np.uint8] | None = None


class Scored(Protocol):
    """Whatever gives maps of raw scores, and the scale of these scores."""

    @property
    def name(self) -> str:
        """Its key in tables."""

    @property
    def binning(self) -> Binning:
        """How its raw scores are binned."""

    def threshold_for(self, *, is_volumes: bool) -> float | None:
        """Return the raw score that a finding in a volume, or in a single image, reaches; None if none is stored."""

    @property
    def froc_thresholds(self) -> NDArray[np.float64]:
        """Raw scores at which findings are counted."""

    @property
    def has_lower_limit(self) -> bool:
        """Whether its findings reach down to the product's lower limit (`low_threshold`), or end at the threshold."""

    def scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return raw scores on a scale from 0 to 1 that keeps their order."""


class System(Scored, Protocol):
    """A function from slices to maps."""

    def prepare(self, prompt: str | None, *, is_industrial: bool) -> None:
        """Look for this class from now on, by the published rules of its domain."""

    def run(self, slices: Tensor, box: SquareBox | None) -> SystemMaps:
        """Map (batch, channel, rows, columns) slices in [0, 1]; `box` is the square around the foreground."""


@dataclass(frozen=True)
class BaselineSystem:
    """One of the maps that need no learning."""

    name: str

    @property
    def binning(self) -> Binning:
        """Values lie in [0, 1]."""
        return Binning(centre=0.5, spread=0.25)

    def threshold_for(self, *, is_volumes: bool) -> float | None:  # noqa: ARG002 - there is none
        """Return None: a baseline has no threshold."""
        return None

    @property
    def froc_thresholds(self) -> NDArray[np.float64]:
        """Spread over [0, 1]."""
        return self.binning.centre + self.binning.spread * _FROC_STEPS["baseline"]

    @property
    def has_lower_limit(self) -> bool:
        """There is none."""
        return False

    def scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squash into 0 to 1."""
        return squashed(raw, self.binning)

    def prepare(self, prompt: str | None, *, is_industrial: bool) -> None:
        """Nothing changes: there is nothing to tell."""

    def run(self, slices: Tensor, box: SquareBox | None) -> SystemMaps:  # noqa: ARG002 - the whole slice is mapped
        """Map the slices."""
        return SystemMaps(BASELINES[self.name](slices.numpy()))


class DetectorSystem:
    """A model of this package.

    Args:
        make: Gives the detector for a class name (None for the model's own prompts) and a domain, as
            `detectors.detector_maker` makes it.
        name: Its key in tables.
    """

    def __init__(self, make: Callable[..., Detector], name: str = DETECTOR) -> None:
        self.name = name
        self._make = make
        self._ready_for: tuple[str | None, bool] = (None, False)
        self.detector: Detector = make(None, is_industrial=False)
        self._has_text = self.detector.metadata.prompts is not None

    @property
    def binning(self) -> Binning:
        """Centred on the model's score scale."""
        scale = self.detector.metadata.score_scale
        return Binning(scale.centre, scale.spread)

    def threshold_for(self, *, is_volumes: bool) -> float | None:
        """Return the stored threshold, as a raw score."""
        metadata = self.detector.metadata
        return float(metadata.score_scale.raw(metadata.threshold_for(2 if is_volumes else 1).value))

    def map_volume(self, volume: Volume) -> NDArray[np.float32]:
        """Return the raw map (x, y, z) of a volume, all that `score` does to it included."""
        from moeclip_med.scoring import score_volume

        raw = score_volume(volume, self.detector, keep_raw=True).raw
        assert raw is not None  # noqa: S101 - asked for
        return raw

    @property
    def froc_thresholds(self) -> NDArray[np.float64]:
        """Spread over the score scale."""
        return self.binning.centre + self.binning.spread * _FROC_STEPS["detector"]

    @property
    def has_lower_limit(self) -> bool:
        """Findings of the product have one."""
        return True

    def scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores as the product gives them."""
        return self.detector.metadata.score_scale.score(raw)

    def prepare(self, prompt: str | None, *, is_industrial: bool) -> None:
        """Look for this class from now on; a model without a text tower ignores the name."""
        wanted = (prompt if self._has_text else None, is_industrial)
        if wanted != self._ready_for:
            # Given up first: a large model fits into memory once, not twice.
            del self.detector
            self.detector = self._make(wanted[0], is_industrial=is_industrial)
            self._ready_for = wanted

    def run(self, slices: Tensor, box: SquareBox | None) -> SystemMaps:
        """Map the slices, cropped as the model expects."""
        crop = box if self.detector.crops_foreground else None
        maps = self.detector.map_slices(slices, crop, want_routing=True)
        scores = getattr(self.detector.engine, "image_scores", None)
        image_score = None if scores is None else scores.numpy()
        routing = None if maps.routing is None else maps.routing.numpy()
        return SystemMaps(maps.raw.numpy(), image_score, routing)


def squashed(raw: NDArray[np.float32], binning: Binning) -> NDArray[np.float32]:
    """Map any raw score into 0 to 1, in the same order, the centre of its binning to one half."""
    scaled = (raw - np.float32(binning.centre)) / np.float32(binning.spread)
    result: NDArray[np.float32] = np.float32(0.5) + np.float32(0.5) * scaled / (1 + np.abs(scaled))
    return result


def baseline_systems() -> list[System]:
    """All baselines."""
    return [BaselineSystem(name) for name in BASELINES]
