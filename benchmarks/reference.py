"""A reference implementation of the method in float32: every step as the paper writes it, one after the other.

It stands in for an eager implementation as papers publish it: attention weights formed in full, experts visited one by
one with gather and scatter, windows cut out and averaged, every one of the token maps blurred and resized on its own,
the image head computed whether asked for or not. It takes its weights from the product's network and returns the same
maps, which a test holds it to, and is what the ratios in `docs/performance.md` are ratios to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from moeclip_med.model.midline import find_midline, mirrored
from moeclip_med.model.patch_intensity import BODY, GREY, OWN_CHANNELS
from moeclip_med.model.similarity import ABNORMAL, NORMAL
from moeclip_med.model.towers import TransformerTower

if TYPE_CHECKING:
    from moeclip_med.model.architecture import Architecture, BlurSpec, ExpertsSpec
    from moeclip_med.model.experts import ExpertMixture
    from moeclip_med.model.network import MoEClip


@torch.no_grad()
def reference_maps(network: MoEClip, images: Tensor, text: Tensor | None = None) -> Tensor:
    """Anomaly maps of images.

    Args:
        network: Where the weights come from.
        images: (B, 3, S, S), normalised.
        text: (width, 2), normal and abnormal; None with learned prompts.

    Returns:
        (B, M, M), as `MoEClip.forward` gives them.
    """
    architecture, tower = network.architecture, network.tower
    prompts = network.prompt_embeddings(text)
    summed = torch.zeros(images.shape[0], architecture.map_size, architecture.map_size)
    tokens, patches = images, images
    twins = twin_tokens = reference_twins(architecture, images) if architecture.has_mirror else None
    for level, stage in enumerate(tower.stages):
        tokens = run_blocks(stage, tokens) if isinstance(tower, TransformerTower) else stage(tokens)
        tokens = visit_experts(network.experts[level], tokens)
        patches = tower.patches(level, tokens)
        if twin_tokens is not None:
            twin_tokens = visit_experts(network.experts[level], stage(twin_tokens))
        for side in architecture.windows:
            features = token_features(network, level, (patches, twin_tokens), side, (images, twins))
            projected = functional.normalize(network.projections[level](features), dim=-1)
            logits = architecture.logit_scale * (projected @ prompts)
            anomaly = (logits[..., ABNORMAL] + 1 - logits[..., NORMAL]) / 2
            summed += full_size(anomaly.unsqueeze(1), architecture, max(tower.grids)).squeeze(1)
    network.image_head(tower.normalise(patches))
    return summed


def reference_twins(architecture: Architecture, images: Tensor) -> Tensor:
    """Each image mirrored at its own midline, one by one, normalised as it came."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (architecture.mean, architecture.std))
    shown = [image[None] for image in images * std + mean]
    return (torch.cat([mirrored(image, find_midline(image)) for image in shown]) - mean) / std


def run_blocks(stage: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - the blocks are OpenCLIP's
    """The blocks of a transformer's stage, attention written out."""
    for block in stage:
        if not hasattr(block, "attn"):  # the stem
            tokens = block(tokens)
            continue
        tokens = tokens + block.ls_1(attend(block.attn, block.ln_1(tokens)))
        tokens = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return tokens


def attend(attention: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - has the parameters of nn.MultiheadAttention
    """Self-attention with its weights (B, heads, N, N) formed in full."""
    batch, count, width = tokens.shape
    projected = functional.linear(tokens, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part.reshape(batch, count, attention.num_heads, -1).transpose(1, 2) for part in projected.chunk(3, dim=-1)
    )
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    attended: Tensor = attention.out_proj((weights @ value).transpose(1, 2).reshape(batch, count, width))
    return attended


def visit_experts(mixture: ExpertMixture, tokens: Tensor) -> Tensor:
    """Send every token to its experts, one expert after the other, gathering and scattering tokens."""
    spec: ExpertsSpec = mixture.spec
    flat = tokens.reshape(-1, tokens.shape[-1])
    probabilities = (flat @ mixture.router.T).softmax(dim=-1)
    weights, chosen = probabilities.topk(spec.top_k, dim=-1)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    mixed = torch.zeros_like(flat)
    for expert in range(spec.count):
        rows, places = torch.where(chosen == expert)
        output = flat[rows] @ mixture.down[expert].T @ mixture.up[expert].T * (spec.alpha / spec.rank)
        mixed.index_add_(0, rows, output * weights[rows, places].unsqueeze(-1))
    matched = mixed * flat.norm(dim=-1, keepdim=True) / (mixed.norm(dim=-1, keepdim=True) + 1e-6)
    return (spec.mixing * matched + (1 - spec.mixing) * flat).reshape(tokens.shape)


def token_features(
    network: MoEClip, level: int, tokens: tuple[Tensor, Tensor | None], side: int, seen: tuple[Tensor, Tensor | None]
) -> Tensor:
    """What the projection of a level sees of each token, for one averaging window.

    Args:
        network: Names the features.
        level: The level.
        tokens: Patches (B, h, w, width), and those of the mirror twins.
        side: Side of the window.
        seen: Images (B, 3, S, S), and the mirrored ones.
    """
    architecture, tower = network.architecture, network.tower
    (patches, twin_patches), (images, twins) = tokens, seen
    pooled = window_mean(patches, side)
    spread = patches.flatten(1).std(dim=1).clamp_min(1e-6)[:, None, None, None]
    counts = mirror_counts(network, images)
    parts = []
    for name in architecture.token_inputs:
        if name == "normalised":
            parts.append(tower.normalise(pooled))
        elif name == "surroundings":
            around = neighbourhood_mean(patches, architecture.surroundings[level])
            parts.append((pooled - around) / spread)
        elif name in {"intensity", "intensity_mirror"}:
            channels = window_mean(reference_intensity(network, level, images, twins), side)
            parts.append(channels[..., :OWN_CHANNELS] if name == "intensity" else channels[..., OWN_CHANNELS:] * counts)
        elif name == "mirror_counts":
            parts.append(counts.expand(*pooled.shape[:3], 1))
        elif twin_patches is not None:
            parts.append(mirror_features(patches, twin_patches, spread)[name] * counts)
    return torch.cat(parts, dim=-1)


def mirror_features(patches: Tensor, twins: Tensor, spread: Tensor) -> dict[str, Tensor]:
    """What comes of comparing patches (B, h, w, width) with their mirror twins."""
    smooth, theirs = neighbourhood_mean(patches, 3), neighbourhood_mean(twins, 3)
    difference = (smooth - theirs) / spread
    magnitude = difference.abs()
    return {
        "mirror": difference,
        "mirror_magnitude": magnitude,
        "asymmetry": magnitude.mean(dim=(1, 2, 3), keepdim=True).expand(*magnitude.shape[:3], 1),
        "mirror_nearest": nearest_of(smooth, theirs, 1).abs().mean(dim=-1).amin(dim=0).unsqueeze(-1) / spread,
    }


def nearest_of(field: Tensor, others: Tensor, reach: int) -> Tensor:
    """Differences of (B, h, w, C) to all places of another field within reach: (places, B, h, w, C)."""
    batch, rows, columns, width = others.shape
    padded = functional.pad(others.permute(0, 3, 1, 2), (reach,) * 4, mode="replicate")
    cut = functional.unfold(padded, 2 * reach + 1).reshape(batch, width, -1, rows, columns)
    return field - cut.permute(2, 0, 3, 4, 1)


def mirror_counts(network: MoEClip, images: Tensor) -> Tensor:
    """1 for each image whose patches are compared with their mirror twins, else 0: (B, 1, 1, 1)."""
    if not network.architecture.has_mirror_switch:
        return torch.ones(len(images), 1, 1, 1)
    colours = reference_intensity(network, 0, images)[..., 2:4]
    return (colours.abs().mean(dim=(1, 2, 3), keepdim=True) <= GREY).float()


def reference_intensity(network: MoEClip, level: int, images: Tensor, twins: Tensor | None = None) -> Tensor:
    """Brightness and colour by patch, (B, h, w, channels), written out image by image; lite's own features."""
    architecture, grid = network.architecture, max(network.tower.grids)
    mean, std = (torch.tensor(values)[:, None, None] for values in (architecture.mean, architecture.std))
    cell = images.shape[-1] // grid
    every = []
    shown = images * std + mean
    theirs = [None] * len(images) if twins is None else twins * std + mean
    for image, twin in zip(shown, theirs, strict=True):
        grey, body = image.mean(dim=0), image.mean(dim=0) > BODY
        spread = max(float(grey[body].std(correction=0)), 0.02)
        pixels = {
            "bright": ((grey - grey[body].mean()) / spread).clamp(-8, 8) * body,
            "body": body.float(),
        }
        for name, colour in (("red", image[0] - image[1]), ("blue", image[2] - (image[0] + image[1]) / 2)):
            pixels[name] = ((colour - colour[body].mean()) / spread).clamp(-8, 8) * body
        cells = {name: functional.avg_pool2d(field[None, None], cell) for name, field in pixels.items()}
        top = functional.max_pool2d(pixels["bright"][None, None], cell) - cells["bright"]
        bottom = -functional.max_pool2d(-pixels["bright"][None, None], cell) - cells["bright"]
        sides = [max(3, (int(grid * share) - 1) // 2 * 2 + 1) for share in (1 / 12, 1 / 5, 1 / 2)]
        less = [less_surroundings(cells["bright"], cells["body"], side) for side in sides]
        colours = [less_surroundings(cells[name], cells["body"], sides[-1]) for name in ("red", "blue")]
        channels = [*cells.values(), top, bottom, *less, *colours]
        if twin is not None:
            dark = twin.mean(dim=0) <= BODY
            other = ((twin.mean(dim=0) - grey[body].mean()) / spread).clamp(-8, 8).masked_fill(dark, 0)
            other = functional.avg_pool2d(other[None, None], cell)
            smooth, theirs_smooth = (functional.avg_pool2d(f, 5, stride=1, padding=2) for f in (cells["bright"], other))
            near = nearest_of(cells["bright"].permute(0, 2, 3, 1), other.permute(0, 2, 3, 1), 2)
            nearest = near.gather(0, near.abs().argmin(dim=0, keepdim=True))[0].permute(0, 3, 1, 2)
            channels += [smooth - theirs_smooth, (smooth - theirs_smooth).abs(), nearest]
        every.append(torch.cat(channels, dim=1))
    fields = torch.cat(every).clamp(-8, 8)
    return functional.avg_pool2d(fields, grid // network.tower.grids[level]).permute(0, 2, 3, 1)


def less_surroundings(field: Tensor, body: Tensor, side: int) -> Tensor:
    """A field (1, 1, h, w) less its mean over the body in a square around each patch."""
    around = functional.avg_pool2d(field, side, stride=1, padding=side // 2)
    share = functional.avg_pool2d(body, side, stride=1, padding=side // 2)
    return (field - around / share.clamp_min(1e-3)) * body


def window_mean(patches: Tensor, side: int) -> Tensor:
    """Cut the window around every patch out of (B, h, w, width) and average it."""
    batch, rows, columns, width = patches.shape
    image = patches.permute(0, 3, 1, 2)
    windows = functional.unfold(image, side, padding=side // 2).reshape(batch, width, side**2, rows, columns)
    return windows.mean(dim=2).permute(0, 2, 3, 1)


def neighbourhood_mean(patches: Tensor, side: int) -> Tensor:
    """The mean of (B, h, w, width) around each patch, over what lies inside the grid; lite's own features."""
    image = patches.permute(0, 3, 1, 2)
    pooled = functional.avg_pool2d(image, side, stride=1, padding=side // 2, count_include_pad=False)
    return pooled.permute(0, 2, 3, 1)


def full_size(anomaly: Tensor, architecture: Architecture, grid: int) -> Tensor:
    """Blur one map (B, 1, h, w) on the grid and resize it; coarse levels come to the finest grid first."""
    size, corners = architecture.map_size, architecture.corners_aligned
    if anomaly.shape[-1] != grid:
        anomaly = functional.interpolate(anomaly, size=(grid, grid), mode="bilinear", align_corners=corners)
    if architecture.blur is not None:
        reach = architecture.blur.kernel // 2
        padded = functional.pad(anomaly, (reach,) * 4, mode="reflect")
        anomaly = functional.conv2d(padded, gaussian(architecture.blur)[None, None])
    return functional.interpolate(anomaly, size=(size, size), mode="bilinear", align_corners=corners)


def gaussian(blur: BlurSpec) -> Tensor:
    """The two-dimensional kernel, (kernel, kernel), summing to 1."""
    offsets = torch.arange(blur.kernel) - blur.kernel // 2
    kernel = torch.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * blur.sigma**2))
    return kernel / kernel.sum()
