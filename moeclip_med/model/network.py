"""MoECLIP: a frozen tower with experts after each level, projections, prompts and the anomaly map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.aggregation import MirrorTwins, level_features, token_width
from moeclip_med.model.axis import AXIS_CUES, AxisGate, axis_cues
from moeclip_med.model.experts import ExpertMixture
from moeclip_med.model.heads import (
    ConvolutionImageHead,
    LearnedPrompts,
    MeanImageHead,
    Projection,
    TextAdapter,
)
from moeclip_med.model.midline import find_midline, mirrored
from moeclip_med.model.outputs import NetworkOutput, TrainingOutput
from moeclip_med.model.patch_intensity import at_grid, intensity_channels, is_grey
from moeclip_med.model.similarity import ABNORMAL, AnomalyMap, anomaly_of_tokens, patch_logits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moeclip_med.model.architecture import Architecture
    from moeclip_med.model.experts import ExpertsOutput
    from moeclip_med.model.towers import Tower


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
        axis_gate: Says how much the comparison with the mirror twins counts; None where that is not learned.
    """

    def __init__(self, architecture: Architecture, tower: Tower, *, text_width: int | None = None) -> None:
        """Put learned parts with a fresh initialization around a tower.

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
        self.axis_gate = AxisGate() if architecture.has_axis_gate else None
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
        twins = self.mirrored(images)
        intensity = self.intensity(images, twins)
        twin_tokens = None if twins is None else self.first_tokens(twins)
        for step in self._levels(self.first_tokens(images), twin_tokens):
            patches, scale = step.patches, self.architecture.logit_scale
            maps = [anomaly_of_tokens(item, prompts, scale) for item in self._project(step, intensity)]
            levels.append(torch.stack(maps).sum(dim=0))
            if want_routing:
                weights = self.tower.patches(step.level, step.mixed.weights)
                routing.append(weights.argmax(dim=-1).to(torch.uint8))
        score = None
        if want_image and patches is not None:
            score = (self.embed_image(patches) @ prompts[:, ABNORMAL] + 1) / 2
        return NetworkOutput(self.anomaly_map(levels), score, tuple(routing) if want_routing else None)

    def forward_training(
        self,
        first_tokens: Tensor,
        text: Tensor | None = None,
        intensity: Tensor | None = None,
        twin_tokens: Tensor | None = None,
    ) -> TrainingOutput:
        """Compute what the losses need.

        Args:
            first_tokens: From `first_tokens`: the tower up to the first experts is frozen, so these can be kept.
            text: (width, 2), or (B, width, 2) where images have different prompts; None with learned prompts.
            intensity: From `intensity`, which can be kept likewise.
            twin_tokens: `first_tokens` of the `mirrored` images, likewise; None where nothing is compared with them.
        """
        prompts = self.prompt_embeddings(text)
        logits, probabilities, grams = [], [], []
        patches = first_tokens
        for step in self._levels(first_tokens, twin_tokens):
            patches = step.patches
            maps = [
                patch_logits(functional.normalize(item, dim=-1), prompts, self.architecture.logit_scale)
                for item in self._project(step, intensity)
            ]
            logits.append(torch.stack(maps, dim=1))
            probabilities.append(step.mixed.probabilities)
            grams.append(step.mixed.output_gram())
        embedding = self.embed_image(patches)
        image_logits = torch.matmul(embedding.unsqueeze(1), prompts).squeeze(1)
        return TrainingOutput(
            tuple(logits),
            embedding,
            self.architecture.image_logit_scale * image_logits,
            tuple(probabilities),
            tuple(grams),
            self._axis_logits(intensity),
        )

    def forward_images(self, images: Tensor) -> tuple[TrainingOutput, ...]:
        """Compute what the losses need from normalised images (B, 3, S, S); nothing frozen is kept for the gradient."""
        with torch.no_grad():
            twins = self.mirrored(images)
            intensity = self.intensity(images, twins)
            tokens = self.first_tokens(images)
            twin_tokens = None if twins is None else self.first_tokens(twins)
        return (self.forward_training(tokens, intensity=intensity, twin_tokens=twin_tokens),)

    def first_tokens(self, images: Tensor) -> Tensor:
        """The frozen tower up to the first experts: (B, 3, S, S) → tokens of the first level.

        Raises:
            InputError: The images have another size than the architecture's.
        """
        check_image_size(images, self.architecture.image_size)
        tokens: Tensor = self.tower.stages[0](images)
        return tokens

    def mirrored(self, images: Tensor) -> Tensor | None:
        """Images mirrored at their own midlines, where the architecture compares patches with their mirror twins.

        Args:
            images: (B, 3, S, S), normalised.

        Returns:
            Likewise.
        """
        if not self.architecture.has_mirror:
            return None
        mean, std = self._scale(images)
        shown = images * std + mean
        return (mirrored(shown, find_midline(shown)) - mean) / std

    def intensity(self, images: Tensor, twins: Tensor | None = None) -> Tensor | None:
        """Brightness and colour on the finest grid, (B, h, w, channels), where the architecture asks for them.

        With an axis gate the last `AXIS_CUES` channels are its cues, the same at every place.

        Args:
            images: (B, 3, S, S), normalised.
            twins: From `mirrored`.
        """
        if "intensity" not in self.architecture.token_inputs:
            return None
        mean, std = self._scale(images)
        shown, shown_twins = images * std + mean, None if twins is None else twins * std + mean
        channels = intensity_channels(shown, max(self.tower.grids), shown_twins)
        if shown_twins is None or self.axis_gate is None:
            return channels
        cues = axis_cues(shown, shown_twins)[:, None, None]
        return torch.cat([channels, cues.expand(-1, *channels.shape[1:3], -1)], dim=-1)

    def prompt_embeddings(self, text: Tensor | None) -> Tensor:
        """The prompts to compare with: the learned ones, or the given text.

        Raises:
            InputError: A model with a text tower was given no text.
        """
        if self.learned_prompts is not None:
            learned: Tensor = self.learned_prompts()
            return learned
        if text is None:
            raise InputError("this model compares with text, but was given no prompt embeddings (width, 2).")
        return text

    def embed_image(self, patches: Tensor) -> Tensor:
        """The image embedding (B, width) from the last level's patches (B, h, w, width)."""
        embedding: Tensor = self.image_head(self.tower.normalise(patches))
        return embedding

    def learned_state(self) -> dict[str, Tensor]:
        """Everything but the tower: what an adapters file holds."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("tower.")}

    def _scale(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The architecture's mean and standard deviation, (3, 1, 1) each."""
        return (
            images.new_tensor(self.architecture.mean)[:, None, None],
            images.new_tensor(self.architecture.std)[:, None, None],
        )

    def _axis_logits(self, intensity: Tensor | None) -> Tensor | None:
        """The gate's logits (B,); None without a gate."""
        if intensity is None or self.axis_gate is None:
            return None
        logits: Tensor = self.axis_gate(intensity[:, 0, 0, -AXIS_CUES:])
        return logits

    def _levels(self, first_tokens: Tensor, twin_tokens: Tensor | None) -> Iterator[_Step]:
        """Walk the stages; the mirror twins walk along as the second half of the batch."""
        tokens = first_tokens if twin_tokens is None else torch.cat([first_tokens, twin_tokens])
        for level, mixture in enumerate(self.experts):
            if level:
                tokens = self.tower.stages[level](tokens)
            mixed: ExpertsOutput = mixture(tokens)
            tokens = mixed.tokens
            patches, twins = self.tower.patches(level, tokens), None
            if twin_tokens is not None:
                patches, twins = patches.unflatten(0, (2, -1))  # chunk would fix an exported network's batch
                mixed = mixed.first_half()
            yield _Step(level, mixed, patches, twins)

    def _project(self, step: _Step, intensity: Tensor | None) -> list[Tensor]:
        architecture, level = self.architecture, step.level
        twins = None
        if step.twins is not None:
            weight = None
            if intensity is not None and architecture.has_mirror_switch:
                weight = is_grey(intensity)
            elif (logits := self._axis_logits(intensity)) is not None:
                weight = logits.sigmoid()
            twins = MirrorTwins(step.twins, weight)
        around = architecture.surroundings[level] if architecture.surroundings else None
        features = level_features(
            step.patches,
            self.tower.normalise,
            windows=architecture.windows,
            inputs=architecture.token_inputs,
            surroundings=around,
            intensity=None if intensity is None else at_grid(intensity, self.tower.grids[level]),
            twins=twins,
        )
        return [self.projections[level](item) for item in features]


class _Step(NamedTuple):
    """A level, what the experts gave, and the patches (B, h, w, width) that flow on, with their mirror twins."""

    level: int
    mixed: ExpertsOutput
    patches: Tensor
    twins: Tensor | None


def check_image_size(images: Tensor, size: int) -> None:
    """Make sure that images are (B, 3, size, size); tracers, which follow one shape, are left alone.

    Raises:
        InputError: They are not.
    """
    is_traced = torch.jit.is_tracing()
    if not is_traced and images.shape[1:] != (3, size, size):
        found = " × ".join(str(side) for side in images.shape[1:])
        raise InputError(
            f"images of {found} (channels × rows × columns), but the model takes 3 × {size} × {size}; "
            "resize them or build the model for that image size."
        )
