"""Plain CLIP as an anomaly detector, in the manner of WinCLIP: nothing is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from moeclip_transforms.errors import InputError
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.attention import fuse_attention
from moeclip_med.model.network import check_image_size
from moeclip_med.model.outputs import NetworkOutput
from moeclip_med.model.similarity import AnomalyMap, anomaly_of_tokens
from moeclip_med.model.towers import TransformerStem

if TYPE_CHECKING:
    from moeclip_med.model.architecture import ZeroShotArchitecture


class ZeroShotClip(nn.Module):
    """CLIP's own image embedding of the whole image and of every small window of patches, compared with prompts.

    Each window's patches pass the transformer alone, with the class token, so that the window is embedded like an
    image (Jeong et al., CVPR 2023, WinCLIP). A patch's anomaly is the mean over the windows that cover it, summed
    over window sizes and the whole image. WinCLIP averages harmonically; here the mean is arithmetic, which keeps the
    map's formula the same as MoECLIP's.
    """

    def __init__(self, architecture: ZeroShotArchitecture, visual: Any) -> None:  # noqa: ANN401 - OpenCLIP is untyped
        """Wrap the image half of a model.

        Args:
            architecture: What to build.
            visual: `open_clip.transformer.VisionTransformer`.

        Raises:
            InputError: The image tower is no vision transformer with a class token.
        """
        super().__init__()
        if not hasattr(visual, "transformer") or visual.attn_pool is not None or visual.pool_type != "tok":
            raise InputError(
                f'clip-zero-shot with "{architecture.tower.name}": its windows need a vision transformer with a '
                "class token, such as ViT-B-16."
            )
        self.architecture = architecture
        self.grid = architecture.image_size // visual.patch_size[0]
        self.stem = TransformerStem(visual, self.grid)
        self.blocks = nn.Sequential(*map(fuse_attention, visual.transformer.resblocks))
        self.ln_post = visual.ln_post
        self.proj = visual.proj
        self.anomaly_map = AnomalyMap(
            self.grid, architecture.map_size, architecture.blur, corners_aligned=architecture.corners_aligned
        )
        self.requires_grad_(requires_grad=False)
        self.eval()

    def forward(
        self,
        images: Tensor,
        text: Tensor | None = None,
        *,
        want_routing: bool = False,
        want_image: bool = False,
    ) -> NetworkOutput:
        """Score images; arguments as in `MoEClip.forward`, text with CLIP's own projection.

        Raises:
            InputError: The images have another size than the architecture's, text is missing, or routing is wanted.
        """
        check_image_size(images, self.architecture.image_size)
        if text is None or want_routing:
            raise InputError(
                "plain CLIP has no experts, so there is no routing to show."
                if want_routing
                else "plain CLIP compares with text, but was given no prompt embeddings (width, 2)."
            )
        tokens = self.stem(images)
        class_token, patches = tokens[:, :1], tokens[:, 1:].reshape(len(tokens), self.grid, self.grid, -1)
        whole = self._anomaly(self._embed(tokens), text)
        maps = [self._window_map(class_token, patches, side, text) for side in self.architecture.windows]
        maps.append(whole[:, None, None].expand(-1, self.grid, self.grid))
        score = torch.sigmoid(2 * whole - 1) if want_image else None
        return NetworkOutput(self.anomaly_map(maps), score)

    def _embed(self, tokens: Tensor) -> Tensor:
        """Embed token sets (n, 1 + patches, width), the class token first: (n, joint width)."""
        return torch.matmul(self.ln_post(self.blocks(tokens)[:, 0]), self.proj)

    def _anomaly(self, embeddings: Tensor, text: Tensor) -> Tensor:
        return anomaly_of_tokens(embeddings, text, self.architecture.logit_scale)

    def _window_map(self, class_token: Tensor, patches: Tensor, side: int, text: Tensor) -> Tensor:
        """The mean anomaly of the windows that cover each patch, (B, h, w)."""
        batch, width = patches.shape[0], patches.shape[-1]
        count = self.grid - side + 1
        windows = patches.unfold(1, side, 1).unfold(2, side, 1).permute(0, 1, 2, 4, 5, 3)
        windows = windows.reshape(batch * count**2, side**2, width)
        heads = class_token.repeat_interleave(count**2, dim=0)
        scores = self._anomaly(self._embed(torch.cat([heads, windows], dim=1)), text)
        scores = scores.reshape(batch, 1, count, count)
        ones = torch.ones_like(scores[:1])
        padded, cover = (functional.pad(item, (side - 1,) * 4) for item in (scores, ones))
        return (functional.avg_pool2d(padded, side, 1) / functional.avg_pool2d(cover, side, 1)).squeeze(1)
