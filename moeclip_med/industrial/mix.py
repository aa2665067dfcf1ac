"""What the network is trained on: composites, synthetic and real defects, each drawn by its number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.industrial.bodies import body_composite
from moeclip_med.industrial.coloured_surfaces import surface_composite
from moeclip_med.industrial.composites import symmetric_composite
from moeclip_med.industrial.crops import CropSource, cut_by_ellipse, photometric
from moeclip_med.industrial.fields import chance
from moeclip_med.industrial.organs import organ_composite
from moeclip_med.industrial.synthetic import synthetic_defect
from moeclip_med.industrial.tubes import tube_composite
from moeclip_med.industrial.wavy_layers import layered_composite

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from moeclip_med.industrial.datasets import IndustrialImage


class SampleKind(IntEnum):
    """Where a training image comes from."""

    SYMMETRIC = 0
    TUBE = 1
    LAYERED = 2
    SYNTHETIC = 3
    REAL = 4
    ORGAN = 5
    SURFACE = 6
    BODY = 7


COMPOSITES = {
    SampleKind.SYMMETRIC: symmetric_composite,
    SampleKind.TUBE: tube_composite,
    SampleKind.LAYERED: layered_composite,
    SampleKind.ORGAN: organ_composite,
    SampleKind.SURFACE: surface_composite,
    SampleKind.BODY: body_composite,
}


@dataclass(frozen=True)
class MixShares:
    """Shares of the kinds of training image; they sum to 1.

    Attributes:
        symmetric: Mirror-symmetric composites, the prior that heads are symmetric.
        tube: Composites of tubes and folds, the prior of endoscopy.
        layered: Composites of layers, the prior of tissue in profile.
        synthetic: Synthetic defects on normal crops.
        real: Real industrial defects.
        organ: Composites of one organ on black, the prior of abdominal slices.
        surface: Composites of coloured surfaces, the prior of skin and of the eye's ground.
        body: Composites of cross-sections, organs among organs, the prior of bodies.
    """

    symmetric: float = 0.31
    tube: float = 0.11
    layered: float = 0.06
    synthetic: float = 0.12
    real: float = 0.14
    organ: float = 0.06
    surface: float = 0.09
    body: float = 0.11

    def __post_init__(self) -> None:
        """Refuse shares that are no shares.

        Raises:
            InputError: A share is negative, or they do not sum to 1.
        """
        shares = self.in_order()
        if min(shares) < 0 or abs(sum(shares) - 1) > np.finfo(np.float32).eps:
            raise InputError(f"The mix's shares are {shares}; they have to be at least 0 and sum to 1.")

    def in_order(self) -> tuple[float, ...]:
        """The shares in the order of `SampleKind`."""
        return (
            self.symmetric,
            self.tube,
            self.layered,
            self.synthetic,
            self.real,
            self.organ,
            self.surface,
            self.body,
        )


@dataclass(frozen=True)
class Sample:
    """One training image.

    Attributes:
        image: (size, size, 3) uint8.
        mask: (size, size) bool, True on the defect.
        kind: Where it comes from.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: SampleKind


class Mix:
    """An endless, reproducible list of training images: `mix[n]` is a function of the seed and n alone."""

    def __init__(
        self,
        images: Sequence[IndustrialImage],
        *,
        size: int,
        seed: int,
        shares: MixShares | None = None,
        normal_only: Collection[str] = (),
    ) -> None:
        """Sort the images into normal and defective.

        Args:
            images: What crops are taken from.
            size: Edge length of a training image, pixels.
            seed: Seed of the list.
            shares: How often each kind is drawn.
            normal_only: Categories whose defective images are skipped, because their masks are too rough.

        Raises:
            InputError: There is no normal image, or no defective one though real defects are asked for.
        """
        self.shares = shares or MixShares()
        self.normal = CropSource([image for image in images if image.is_normal])
        self.defective = CropSource(
            [image for image in images if not image.is_normal and image.category not in normal_only]
        )
        if not len(self.normal):
            raise InputError("The training data hold no normal image; add a category with images without masks.")
        if self.shares.real > 0 and not len(self.defective):
            raise InputError("The training data hold no defective image; set the share of real defects to 0.")
        self.size, self.seed = size, seed

    def __getitem__(self, index: int) -> Sample:
        """The training image with this number."""
        rng = np.random.default_rng([self.seed, index])
        kind = SampleKind(int(rng.choice(len(SampleKind), p=self.shares.in_order())))
        if kind in COMPOSITES:
            image, mask = COMPOSITES[kind](*self._two_normals(rng), rng)
        elif kind is SampleKind.SYNTHETIC:
            image, mask = synthetic_defect(*self._two_normals(rng), rng)
        else:
            image, mask = self._real_defect(rng)
        if kind in {SampleKind.TUBE, SampleKind.SYNTHETIC}:
            image = photometric(image, rng)
        return Sample(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), mask, kind)

    def _two_normals(self, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.normal.any_crop(self.size, rng)[0], self.normal.any_crop(self.size, rng)[0]

    def _real_defect(self, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        image, mask = self.defective.any_crop(self.size, rng)
        image = photometric(image, rng)
        return cut_by_ellipse(image, mask, rng) if chance(rng, 0.3) else (image, mask)
