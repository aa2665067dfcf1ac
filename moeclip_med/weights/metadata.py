"""What is known about a model: how it is built, what its scores mean, what it was made from."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.model import json_records
from moeclip_med.model.architecture import Architecture, FusedArchitecture, ZeroShotArchitecture
from moeclip_med.model.prompts import Prompts  # noqa: TC001 - json_records reads it

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from moeclip_med.model.architecture import AnyArchitecture, LearnedArchitecture
else:
    AnyArchitecture = Any  # msgspec tells records in a union apart by a key of their own; `_architecture` does here


UNCALIBRATED = "uncalibrated"
FORMAT = 2
_RENAMED_SINCE_1 = {"framing": "crop", "start_values": "initialization"}
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{0,60}")


@dataclass(frozen=True)
class ScoreScale:
    """From the network's unbounded raw map to scores between 0 and 1, in the same order for every image.

    score = 1 / (1 + exp(-(raw - centre) / spread)). The constants belong to the model; nothing of an image enters.

    Attributes:
        centre: The raw value whose score is one half.
        spread: By how much raw must rise for the odds of the score to grow by e; positive.
        source: How the constants were found; "uncalibrated" where they follow from the formula alone.
    """

    centre: float
    spread: float
    source: str = UNCALIBRATED

    def __post_init__(self) -> None:
        """Refuse constants that keep no order.

        Raises:
            InputError: The spread is not positive, or a constant is not finite.
        """
        if not (math.isfinite(self.centre) and math.isfinite(self.spread) and self.spread > 0):
            raise InputError(
                f"score scale: centre {self.centre}, spread {self.spread}; expected finite numbers, spread above 0."
            )

    def score(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of raw values, elementwise, float32."""
        odds = np.subtract(raw, self.centre, dtype=np.float32)
        # tanh saturates where exp would overflow, and is the same function.
        np.divide(odds, 2 * self.spread, out=odds)
        np.tanh(odds, out=odds)
        np.add(odds, 1, out=odds)
        return np.divide(odds, 2, out=odds)

    def raw(self, score: float) -> float:
        """The raw value of a score; infinite for 0 and 1.

        Raises:
            InputError: The score lies outside 0 to 1.
        """
        if not 0 <= score <= 1:
            raise InputError(f"score {score} lies outside 0 to 1.")
        if score in {0, 1}:
            return math.inf if score else -math.inf
        return self.centre + self.spread * math.log(score / (1 - score))


def uncalibrated_scale(architecture: AnyArchitecture) -> ScoreScale:
    """The scale that the map's formula suggests where nothing was measured.

    The raw map sums (logit difference + 1)/2 over n token maps, so with centre and spread n/2 the score is the
    logistic function of the mean logit difference: the softmax that the training used.
    """
    half = architecture.map_count / 2
    return ScoreScale(centre=half, spread=half, source=UNCALIBRATED)


@dataclass(frozen=True)
class Threshold:
    """The score that a finding reaches.

    Attributes:
        value: The score, 0 to 1.
        source: How it was found, as a phrase for reports.
        is_calibrated: Whether it was set on images of the kind that is scored; else every output says "uncalibrated".
    """

    value: float
    source: str
    is_calibrated: bool = False

    def __post_init__(self) -> None:
        """Refuse a value that is no score.

        Raises:
            InputError: It lies outside 0 to 1, or is NaN.
        """
        if not 0 <= self.value <= 1:
            raise InputError(f"threshold: {self.value} lies outside 0 to 1.")


@dataclass(frozen=True)
class TrainingData:
    """One data set that the adapters learned from.

    Attributes:
        name: What it is called.
        terms: Its licence or terms of use.
        source: Where it is published.
        images: How many of its images were used.
    """

    name: str
    terms: str
    source: str = ""
    images: int = 0


@dataclass(frozen=True)
class ModelMetadata:
    """Everything that is stored beside a model's weights.

    Attributes:
        name: What the model is called.
        version: Its own version.
        architecture: How the network is built.
        score_scale: What raw values mean.
        threshold: The score that a finding in a single image reaches.
        volume_threshold: The score that a finding in a volume of many slices reaches, since the highest score of many
            is higher than that of one; None takes `threshold`.
        licence: Licence of the adapters, an SPDX identifier, or what is known.
        tower_licence: Licence and origin of the tower's weights.
        prompts: The prompts in use where the user gives none; None with learned prompts.
        training_data: What the adapters learned from.
        training: How they were trained: named settings and measured figures.
        initialization: What made every expert learn from the first step: router, B and the rest.
        adapters_sha256: Of the file of the adapters.
        tower_sha256: Of the tower's weights: the file for lite's tower, `tensors.fingerprint` for others, joined by
            "+" where there are several towers; "" where unknown, which leaves the tower unchecked.
        notes: What the user should know, one sentence each.
        weak_kinds: Image types that the model is weak on, with a sentence that says so.
        format: Version of this description.
    """

    name: str
    version: str
    architecture: AnyArchitecture
    score_scale: ScoreScale
    threshold: Threshold
    licence: str
    tower_licence: str = ""
    prompts: Prompts | None = None
    training_data: tuple[TrainingData, ...] = ()
    training: dict[str, str] = field(default_factory=dict)
    initialization: dict[str, str] = field(default_factory=dict)
    adapters_sha256: str = ""
    tower_sha256: str = ""
    notes: tuple[str, ...] = ()
    weak_kinds: dict[str, str] = field(default_factory=dict)
    volume_threshold: Threshold | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, where: str = "metadata") -> ModelMetadata:
        """From parsed JSON, of this format or the one before.

        Raises:
            InputError: A key is unknown or missing, a value has the wrong type, or the format is a later one.
        """
        found = data.get("format", FORMAT) if isinstance(data, dict) else FORMAT
        if found not in (1, FORMAT):
            raise InputError(f"{where}: format {found}, this version reads formats 1 and {FORMAT}; update moeclip-med.")
        if found == 1:
            data = {**_renamed(data), "format": FORMAT}
        found_metadata = json_records.from_json(cls, data, where)
        architecture = _architecture(found_metadata.architecture, f"{where}.architecture")
        if not _VERSION.fullmatch(found_metadata.version):
            raise InputError(
                f"{where}.version: found {found_metadata.version!r}; expected letters, digits and . + - _ only."
            )
        return replace(found_metadata, architecture=architecture)

    def calibrated(self, score_scale: ScoreScale, threshold: Threshold) -> ModelMetadata:
        """The same model with another meaning of its scores."""
        return replace(self, score_scale=score_scale, threshold=threshold, volume_threshold=None)

    def threshold_for(self, slices: int) -> Threshold:
        """Return the threshold for so many slices of one body; for frames of a cine and photographs, `slices` is 1."""
        return self.threshold if slices == 1 or self.volume_threshold is None else self.volume_threshold

    def identity(self) -> str:
        """SHA-256 over everything that changes a score: weights, architecture, prompts and scale."""
        parts = {
            "adapters": self.adapters_sha256,
            "tower": self.tower_sha256,
            "architecture": self.architecture.to_json(),
            "prompts": None if self.prompts is None else asdict(self.prompts),
            "scale": [self.score_scale.centre, self.score_scale.spread],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describe_initialization(architecture: LearnedArchitecture) -> dict[str, str]:
    """The initial values that let every expert learn from the first step, for the metadata."""
    experts = architecture.experts
    return {
        "router": f"normal, standard deviation {experts.router_start}",
        "experts.down (A)": "orthonormal rows on disjoint feature blocks (QR of a Gaussian), frozen",
        "experts.up (B)": f"normal, standard deviation {experts.expert_start}",
        "others": "PyTorch's defaults",
    }


def _architecture(data: object, where: str) -> AnyArchitecture:
    """Return the architecture that has such keys."""
    names = set(data) if isinstance(data, dict) else set()
    if "members" in names:
        return json_records.from_json(FusedArchitecture, data, where)
    if names & {"levels", "experts"}:
        return Architecture.from_json(data, where)
    return json_records.from_json(ZeroShotArchitecture, data, where)


def _renamed(data: Any) -> Any:  # noqa: ANN401 - parsed JSON
    """Return format 1 with the keys of format 2."""
    if isinstance(data, dict):
        return {_RENAMED_SINCE_1.get(key, key): _renamed(value) for key, value in data.items()}
    return [_renamed(value) for value in data] if isinstance(data, list) else data
