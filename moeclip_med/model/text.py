"""CLIP's text tower, frozen, and the prompts it encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class TextTower(nn.Module):
    """The text half of an OpenCLIP model.

    Attributes:
        width: Width of the features it gives.
    """

    def __init__(self, clip: Any, tokenizer: Callable[..., Tensor], *, projected: bool) -> None:  # noqa: ANN401
        """Take the text half of a model, which is not to be used for anything else afterwards.

        Args:
            clip: `open_clip.CLIP` or `CustomTextCLIP`.
            tokenizer: The model's tokenizer.
            projected: With CLIP's own projection into the joint space (plain CLIP), or the features before it at the
                end-of-text token, after the last norm (MoECLIP, which learns its own projection).

        Raises:
            InputError: The model's text tower is not OpenCLIP's own transformer.
        """
        super().__init__()
        transformer = getattr(clip, "text", clip)
        if not hasattr(transformer, "ln_final"):
            raise InputError(
                f"text tower {type(transformer).__name__} is not OpenCLIP's own transformer; "
                "choose a CLIP model without a Hugging Face text tower."
            )
        clip.visual = None
        self.width = int(transformer.ln_final.normalized_shape[0])
        if not projected:
            transformer.text_projection = None
        self.clip = clip
        self.tokenizer = tokenizer
        self.context_length = int(clip.context_length)
        self.requires_grad_(requires_grad=False)
        self.eval()

    @torch.no_grad()
    def forward(self, phrases: Sequence[str]) -> Tensor:
        """Encode phrases: (phrases, width), not normalised.

        Raises:
            InputError: A phrase is longer than the tower's context, which would cut it silently.
        """
        # One place more than the context: a phrase that fits leaves it empty.
        tokens = self.tokenizer(list(phrases), context_length=self.context_length + 1)
        for phrase, row in zip(phrases, tokens, strict=True):
            if row[-1] != 0:
                raise InputError(
                    f'prompt "{phrase[:60]}…" is longer than the {self.context_length} tokens '
                    "the text tower reads; shorten it."
                )
        features: Tensor = self.clip.encode_text(tokens[:, : self.context_length])
        return features
