"""Everything that shapes a network, as one frozen value that is stored beside its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from moeclip_transforms.errors import InputError

from moeclip_med.model import json_records

TokenInput = Literal[
    "normalised",
    "surroundings",
    "mirror",
    "mirror_magnitude",
    "asymmetry",
    "intensity",
    "intensity_mirror",
    "mirror_counts",
    "mirror_nearest",
    "mirror_gate",
]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_NEED_INTENSITY = ("intensity_mirror", "mirror_counts", "mirror_gate")


@dataclass(frozen=True)
class TowerSpec:
    """Which frozen backbone, and how it is run.

    Attributes:
        kind: "openclip" (any image tower of OpenCLIP) or "timm" (a network of timm, no text tower).
        name: The library's own name, for OpenCLIP without the suffix "-quickgelu".
        pretrained: OpenCLIP's or timm's tag, such as "openai" or "lvd142m", or the name of a packaged weights file.
        activation: "gelu" or "quick_gelu" for OpenCLIP's own transformers; "native" where the tower fixes it.
            Adapters fit only the activation they were trained with.
    """

    kind: Literal["openclip", "timm"]
    name: str
    pretrained: str
    activation: Literal["gelu", "quick_gelu", "native"]


@dataclass(frozen=True)
class ExpertsSpec:
    """The mixture of LoRA experts after each level (paper, section on patch-specialised experts).

    Attributes:
        count: Number of experts, K.
        top_k: How many of them a token is sent to.
        rank: Rank of each expert.
        alpha: LoRA's α; the product is scaled by α/rank (without effect beyond 1e-6: the norm is matched after it).
        mixing: Weight of the experts' output in the residual mean; the token keeps 1 - mixing.
        dropout: Dropout on the experts' input in training.
        router_start: Standard deviation of the router's initial values; 0 ties all experts.
        expert_start: Standard deviation of the initial values of each B; 0 makes the first gradients explode.
        disjoint: Whether each expert sees its own block of features only (FOFS); if not, each sees all of them.
    """

    count: int = 4
    top_k: int = 2
    rank: int = 8
    alpha: float = 16.0
    mixing: float = 0.1
    dropout: float = 0.05
    router_start: float = 0.02
    expert_start: float = 0.02
    disjoint: bool = True


@dataclass(frozen=True)
class ProjectionSpec:
    """From the token features of a level to the space of the prompts; linear layers without bias.

    Attributes:
        width: Width of the prompts' space.
        hidden: Width of a hidden layer with LeakyReLU behind it; None for a single linear layer.
        slope: Negative slope of the LeakyReLUs.
        ends_with_activation: A LeakyReLU after the last layer, a variant of the released code.
    """

    width: int
    hidden: int | None = None
    slope: float = 0.01
    ends_with_activation: bool = False


@dataclass(frozen=True)
class BlurSpec:
    """Gaussian blur on the patch grid, the border reflected without repeating the edge."""

    kernel: int
    sigma: float


@dataclass(frozen=True)
class Architecture:
    """Everything that shapes the network; widths and strides come from the tower.

    Attributes:
        tower: The frozen backbone.
        levels: After which blocks (counted from 1) experts sit and maps are read.
        experts: The experts of each level.
        projection: From token features to the prompts' space, one per level.
        image_size: Side of the square input in pixels.
        map_size: Side of the raw anomaly map in pixels.
        blur: The blur of the map; None for none.
        token_inputs: What the projection sees of each token, concatenated.
        surroundings: Side of the neighbourhood, in tokens, that "surroundings" compares with, one per level.
        windows: Sides of the averaging windows, in tokens (patch average aggregation).
        prompts: "text" (from the text tower) or "learned" (one normal and one abnormal vector).
        image_head: "convolution" (the paper's) or "mean" (mean of the last level, one linear layer).
        logit_scale: Factor of the cosines, in the patch losses and in the raw map.
        image_logit_scale: The same for the image's cross-entropy.
        corners_aligned: Whether maps are resized with aligned corners.
        mean: Channel means for the input, in [0, 1].
        std: Channel standard deviations for the input.
        crop: What of a slice the network sees: the "whole" image, or the "foreground-square" around the body.
    """

    tower: TowerSpec
    levels: tuple[int, ...]
    experts: ExpertsSpec
    projection: ProjectionSpec
    image_size: int
    map_size: int
    blur: BlurSpec | None
    token_inputs: tuple[TokenInput, ...] = ("normalised",)
    surroundings: tuple[int, ...] = ()
    windows: tuple[int, ...] = (1, 3, 5)
    prompts: Literal["text", "learned"] = "text"
    image_head: Literal["convolution", "mean"] = "convolution"
    logit_scale: float = 100.0
    image_logit_scale: float = 1.0
    corners_aligned: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    crop: Literal["whole", "foreground-square"] = "whole"

    def __post_init__(self) -> None:
        """Check what no single field can.

        Raises:
            InputError: The fields contradict each other, or one of them asks for more than any network has.
        """
        _check_bounds(self)
        if not self.levels or list(self.levels) != sorted(set(self.levels)) or self.levels[0] < 1:
            raise InputError(f"architecture.levels: {self.levels} is not an ascending list of blocks from 1.")
        if not 1 <= self.experts.top_k <= self.experts.count:
            raise InputError(
                f"architecture.experts: top_k {self.experts.top_k} lies outside 1 to {self.experts.count} experts."
            )
        if "surroundings" in self.token_inputs and len(self.surroundings) != len(self.levels):
            raise InputError(
                f"architecture.surroundings: {len(self.surroundings)} kernels for {len(self.levels)} levels; "
                "give one per level."
            )
        needing = [name for name in _NEED_INTENSITY if name in self.token_inputs]
        if needing and "intensity" not in self.token_inputs:
            raise InputError(f'architecture.token_inputs: "{needing[0]}" needs "intensity" beside it.')
        even = [side for side in (*self.windows, *self.surroundings) if side % 2 == 0 or side < 1]
        if even:
            raise InputError(f"architecture: window of {even[0]} tokens; windows and surroundings must be odd.")
        if self.tower.kind == "timm" and self.prompts == "text":
            raise InputError(
                f'architecture.prompts: tower "{self.tower.name}" has no text tower; use "learned" prompts.'
            )

    @property
    def has_mirror(self) -> bool:
        """Whether patches are compared with their mirror twins."""
        return any("mirror" in name or name == "asymmetry" for name in self.token_inputs)

    @property
    def has_mirror_switch(self) -> bool:
        """Whether patches are compared with their mirror twins in grey images only."""
        return "mirror_counts" in self.token_inputs

    @property
    def has_axis_gate(self) -> bool:
        """Whether a learned gate says how much the comparison with the mirror twins counts."""
        return "mirror_gate" in self.token_inputs

    @property
    def map_count(self) -> int:
        """How many token maps the raw map sums."""
        return len(self.levels) * len(self.windows)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object, where: str = "architecture") -> Architecture:
        """From parsed JSON; see `moeclip_med.model.json_records.from_json` for what it refuses."""
        return json_records.from_json(cls, data, where)


def _check_bounds(architecture: Architecture) -> None:
    """Refuse numbers that no network has: those of a stranger's file would take all memory or divide by zero."""
    experts, projection, blur = architecture.experts, architecture.projection, architecture.blur
    numbers = (
        ("image_size", architecture.image_size, 16, 4096),
        ("map_size", architecture.map_size, 1, 4096),
        ("levels", len(architecture.levels), 1, 128),
        ("levels[-1]", architecture.levels[-1] if architecture.levels else 1, 1, 1000),
        ("windows", len(architecture.windows), 1, 32),
        ("windows", max(architecture.windows, default=1), 1, 255),
        ("surroundings", max(architecture.surroundings, default=1), 1, 255),
        ("experts.count", experts.count, 1, 256),
        ("experts.rank", experts.rank, 1, 4096),
        ("experts.mixing", experts.mixing, 0, 1),
        ("experts.dropout", experts.dropout, 0, 1),
        ("projection.width", projection.width, 1, 65_536),
        ("projection.hidden", projection.hidden or 1, 1, 65_536),
        ("blur.kernel", blur.kernel if blur else 1, 1, 255),
        ("blur.sigma", blur.sigma if blur else 1, 1e-6, 1000),
        ("std", min(architecture.std), 1e-6, 1000),
        ("logit_scale", architecture.logit_scale, 1e-6, 1e6),
    )
    for name, value, low, high in numbers:
        if not low <= value <= high:
            raise InputError(f"architecture.{name}: found {value}; expected {low} to {high}.")


@dataclass(frozen=True)
class ZeroShotArchitecture:
    """Plain CLIP without anything learned, in the manner of WinCLIP; fields as in `Architecture`.

    Attributes:
        windows: Sides of the patch windows that are encoded on their own, beside the whole image.
    """

    tower: TowerSpec
    image_size: int
    map_size: int
    blur: BlurSpec | None
    windows: tuple[int, ...] = (2, 3)
    logit_scale: float = 100.0
    corners_aligned: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    crop: Literal["whole", "foreground-square"] = "whole"

    @property
    def map_count(self) -> int:
        """How many maps the raw map sums: one per window, one for the whole image."""
        return len(self.windows) + 1

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return asdict(self)


@dataclass(frozen=True)
class FusedArchitecture:
    """Several networks that look at the same image; their mean logits are added. Other fields as in `Architecture`.

    Attributes:
        members: The networks. Each takes the image at its own size and with its own mean and standard deviation.
    """

    members: tuple[Architecture, ...]
    image_size: int
    map_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    crop: Literal["whole", "foreground-square"] = "foreground-square"

    def __post_init__(self) -> None:
        """Check that the members fit each other.

        Raises:
            InputError: There are fewer than two, one has a text tower, or their crops differ.
        """
        if len(self.members) < 2:  # noqa: PLR2004 - one is not fused
            raise InputError(f"architecture.members: {len(self.members)} network; a fused network has two or more.")
        if any(member.prompts == "text" for member in self.members):
            raise InputError(
                'architecture.members: prompts "text" in a fused network; its members need "learned" prompts.'
            )
        if any(member.crop != self.crop for member in self.members):
            raise InputError(f'architecture.members: a crop other than "{self.crop}"; all members see the same crop.')

    @property
    def prompts(self) -> Literal["learned"]:
        """No member has a text tower."""
        return "learned"

    @property
    def tower(self) -> TowerSpec:
        """The tower of the largest input, for messages."""
        return max(self.members, key=lambda member: member.image_size).tower

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels of all members, one after the other."""
        return tuple(level for member in self.members for level in member.levels)

    @property
    def experts(self) -> ExpertsSpec:
        """The experts of the first member; all have as many."""
        return self.members[0].experts

    @property
    def map_count(self) -> int:
        """Of how many mean logits, each shifted by one half, the raw map is the sum."""
        return len(self.members)

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that `json.dumps` takes."""
        return asdict(self)


AnyArchitecture = Architecture | ZeroShotArchitecture | FusedArchitecture
LearnedArchitecture = Architecture | FusedArchitecture
"""Networks with adapters."""
