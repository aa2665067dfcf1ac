"""MoECLIP: a frozen tower with experts after each level, projections, prompts and the anomaly map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.aggregation import level_features, token_width
from moeclip_med.model.experts import ExpertMixture
from moeclip_med.model.heads import (
    ConvolutionImageHead,
    LearnedPrompts,
    MeanImageHead,
    Projection,
    TextAdapter,
)
from moeclip_med.model.intensity import at_grid, intensity_channels, is_grey
from moeclip_med.model.losses import balance_loss, etf_loss
from moeclip_med.model.similarity import ABNORMAL, AnomalyMap, anomaly_of_tokens, patch_logits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_med.model.architecture import Architecture
    from moeclip_med.model.experts import ExpertsOutput
    from moeclip_med.model.towers import Tower


@dataclass
class NetworkOutput:
    """What scoring needs.

    Attributes:
        maps: (B, M, M), the raw anomaly map: unbounded, larger is more abnormal.
        image_score: (B,), how abnormal the image is as a whole, or None where not asked for.
        routing: Per level (B, h, w) uint8, the expert with the largest weight, or None where not asked for.
    """

    maps: Tensor
    image_score: Tensor | None = None
    routing: tuple[Tensor, ...] | None = None


@dataclass
class TrainingOutput:
    """What the losses need.

    Attributes:
        logits: Per level (B, windows, 2, h, w), scaled patch logits.
        image_embedding: (B, width).
        image_logits: (B, 2), scaled.
        router_probabilities: Per level (B, ..., K), float32.
        expert_grams: Per level (B, ..., K, K), float32, cosines between all experts' outputs.
    """

    logits: tuple[Tensor, ...]
    image_embedding: Tensor
    image_logits: Tensor
    router_probabilities: tuple[Tensor, ...]
    expert_grams: tuple[Tensor, ...]

    def balance(self) -> Tensor:
        """The balance loss, summed over the levels; scalar."""
        return torch.stack([balance_loss(level) for level in self.router_probabilities]).sum()

    def etf(self) -> Tensor:
        """The ETF loss, summed over the levels; scalar."""
        return torch.stack([etf_loss(level) for level in self.expert_grams]).sum()


class MoEClip(nn.Module):
    """One network for every tower; what it learns is everything but `tower`.

    Attributes:
        architecture: What shaped it.
        tower: The frozen backbone.
        experts: One mixture per level.
        projections: One per level, shared by its windows.
        image_head: From the last level to the image embedding.
        text_adapter: Learned adapter of text features; None with learned prompts.
        learned_prompts: Learned prompts; None with text.
    """

    def __init__(self, architecture: Architecture, tower: Tower, *, text_width: int | None = None) -> None:
        """Put learned parts with fresh start values around a tower.

        Args:
            architecture: What to build.
            tower: The backbone, built for the same architecture.
            text_width: Width of the text tower's features; as wide as the prompts' space where not given.
        """
        super().__init__()
        self.architecture = architecture
        self.tower = tower
        width = architecture.projection.width
        self.experts = nn.ModuleList(ExpertMixture(size, architecture.experts) for size in tower.widths)
        self.projections = nn.ModuleList(
            Projection(token_width(architecture.token_inputs, size), architecture.projection) for size in tower.widths
        )
        head = ConvolutionImageHead if architecture.image_head == "convolution" else MeanImageHead
        self.image_head = head(tower.widths[-1], width)
        has_text = architecture.prompts == "text"
        self.text_adapter = TextAdapter(text_width or width, width) if has_text else None
        self.learned_prompts = None if has_text else LearnedPrompts(width)
        self.anomaly_map = AnomalyMap(
            max(tower.grids),
            architecture.map_size,
            architecture.blur,
            corners_aligned=architecture.corners_aligned,
        )

    def forward(
        self,
        images: Tensor,
        text: Tensor | None = None,
        *,
        want_routing: bool = False,
        want_image: bool = False,
    ) -> NetworkOutput:
        """Score images.

        Args:
            images: (B, 3, S, S), normalised with the architecture's mean and std.
            text: (width, 2) from `TextAdapter`, normal and abnormal; None with learned prompts.
            want_routing: Also give the expert with the largest weight per patch.
            want_image: Also give the score of the whole image.

        Raises:
            InputError: The images have another size than the architecture's, or text is missing.
        """
        prompts = self.prompt_embeddings(text)
        levels, routing = [], []
        patches = None
        intensity = self.intensity(images)
        for level, mixed, patches in self._levels(self.first_tokens(images)):
            scale = self.architecture.logit_scale
            maps = [anomaly_of_tokens(item, prompts, scale) for item in self._project(level, patches, intensity)]
            levels.append(torch.stack(maps).sum(dim=0))
            if want_routing:
                weights = self.tower.patches(level, mixed.weights)
                routing.append(weights.argmax(dim=-1).to(torch.uint8))
        score = None
        if want_image and patches is not None:
            score = (self.embed_image(patches) @ prompts[:, ABNORMAL] + 1) / 2
        return NetworkOutput(self.anomaly_map(levels), score, tuple(routing) if want_routing else None)

    def forward_training(
        self, first_tokens: Tensor, text: Tensor | None = None, intensity: Tensor | None = None
    ) -> TrainingOutput:
        """Compute what the losses need.

        Args:
            first_tokens: From `first_tokens`: the tower up to the first experts is frozen, so these can be kept.
            text: (width, 2), or (B, width, 2) where images have different prompts; None with learned prompts.
            intensity: From `intensity`, which can be kept likewise.
        """
        prompts = self.prompt_embeddings(text)
        logits, probabilities, grams = [], [], []
        patches = first_tokens
        for level, mixed, patches in self._levels(first_tokens):
            maps = [
                patch_logits(functional.normalize(item, dim=-1), prompts, self.architecture.logit_scale)
                for item in self._project(level, patches, intensity)
            ]
            logits.append(torch.stack(maps, dim=1))
            probabilities.append(mixed.probabilities)
            grams.append(mixed.output_gram())
        embedding = self.embed_image(patches)
        image_logits = torch.matmul(embedding.unsqueeze(1), prompts).squeeze(1)
        return TrainingOutput(
            tuple(logits),
            embedding,
            self.architecture.image_logit_scale * image_logits,
            tuple(probabilities),
            tuple(grams),
        )

    def first_tokens(self, images: Tensor) -> Tensor:
        """The frozen tower up to the first experts: (B, 3, S, S) → tokens of the first level.

        Raises:
            InputError: The images have another size than the architecture's.
        """
        check_image_size(images, self.architecture.image_size)
        tokens: Tensor = self.tower.stages[0](images)
        return tokens

    def intensity(self, images: Tensor) -> Tensor | None:
        """Brightness and colour on the finest grid, (B, h, w, channels), where the architecture asks for them.

        Args:
            images: (B, 3, S, S), normalised.
        """
        architecture = self.architecture
        if "intensity" not in architecture.token_inputs:
            return None
        mean, std = (images.new_tensor(values)[:, None, None] for values in (architecture.mean, architecture.std))
        return intensity_channels(images * std + mean, max(self.tower.grids))

    def prompt_embeddings(self, text: Tensor | None) -> Tensor:
        """The prompts to compare with: the learned ones, or the given text.

        Raises:
            InputError: A model with a text tower was given no text.
        """
        if self.learned_prompts is not None:
            learned: Tensor = self.learned_prompts()
            return learned
        if text is None:
            msg = "this model compares with text, but was given no prompt embeddings (width, 2)."
            raise InputError(msg)
        return text

    def project(self, level: int, patches: Tensor, intensity: Tensor | None = None) -> list[Tensor]:
        """The token maps of a level, one (B, h, w, width) per window, normalised."""
        return [functional.normalize(item, dim=-1) for item in self._project(level, patches, intensity)]

    def embed_image(self, patches: Tensor) -> Tensor:
        """The image embedding (B, width) from the last level's patches (B, h, w, width)."""
        embedding: Tensor = self.image_head(self.tower.normalise(patches))
        return embedding

    def learned_state(self) -> dict[str, Tensor]:
        """Everything but the tower: what an adapters file holds."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("tower.")}

    def _levels(self, first_tokens: Tensor) -> Iterator[tuple[int, ExpertsOutput, Tensor]]:
        """Walk the stages: level, what the experts gave, and the patches (B, h, w, width) that flow on."""
        tokens = first_tokens
        for level, mixture in enumerate(self.experts):
            if level:
                tokens = self.tower.stages[level](tokens)
            mixed: ExpertsOutput = mixture(tokens)
            tokens = mixed.tokens
            yield level, mixed, self.tower.patches(level, tokens)

    def _project(self, level: int, patches: Tensor, intensity: Tensor | None) -> list[Tensor]:
        architecture = self.architecture
        weight = None if intensity is None or not architecture.has_mirror_switch else is_grey(intensity)
        around = architecture.surroundings[level] if architecture.surroundings else None
        features = level_features(
            patches,
            self.tower.normalise,
            windows=architecture.windows,
            inputs=architecture.token_inputs,
            surroundings=around,
            intensity=None if intensity is None else at_grid(intensity, self.tower.grids[level]),
            mirror_weight=weight,
        )
        return [self.projections[level](item) for item in features]


def check_image_size(images: Tensor, size: int) -> None:
    """Make sure that images are (B, 3, size, size); tracers, which follow one shape, are left alone.

    Raises:
        InputError: They are not.
    """
    is_traced = torch.jit.is_tracing()
    if not is_traced and images.shape[1:] != (3, size, size):
        found = " × ".join(str(side) for side in images.shape[1:])
        msg = (
            f"images of {found} (channels × rows × columns), but the model takes 3 × {size} × {size}; "
            "resize them or build the model for that image size."
        )
        raise InputError(msg)
