"""Several networks that look at the same image at their own sizes; their mean logits are added."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from moeclip_med.model.network import check_image_size
from moeclip_med.model.outputs import NetworkOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moeclip_med.model.architecture import FusedArchitecture
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.outputs import TrainingOutput


class FusedNetwork(nn.Module):
    """Networks of `FusedArchitecture.members`, one map.

    A member's raw map sums (logit difference + 1) / 2 over its token maps. Here it counts by its mean, so that members
    with more levels do not count more: the raw map is the sum over members of (mean logit difference + 1) / 2.

    Attributes:
        architecture: What shaped it.
        members: The networks.
    """

    def __init__(self, architecture: FusedArchitecture, members: Sequence[nn.Module]) -> None:
        """Put networks side by side.

        Args:
            architecture: What to build.
            members: `MoEClip` networks, in the order of the architecture's.
        """
        super().__init__()
        self.architecture = architecture
        self.members = nn.ModuleList(members)

    def forward(
        self,
        images: Tensor,
        text: Tensor | None = None,
        *,
        want_routing: bool = False,
        want_image: bool = False,
    ) -> NetworkOutput:
        """Score images; arguments as in `MoEClip.forward`, text unused.

        The image score is the members' mean, the routing that of all members' levels.

        Raises:
            InputError: The images have another size than the architecture's.
        """
        check_image_size(images, self.architecture.image_size)
        maps, scores = [], []
        routing: tuple[Tensor, ...] = ()
        for member, seen in zip(self.members, member_images(self.architecture, images), strict=True):
            output: NetworkOutput = member(seen, text, want_routing=want_routing, want_image=want_image)
            maps.append(output.maps)
            scores += [] if output.image_score is None else [output.image_score]
            routing += output.routing or ()
        score = torch.stack(scores).mean(dim=0) if scores else None
        return NetworkOutput(added_maps(self.architecture, maps), score, routing if want_routing else None)

    def forward_images(self, images: Tensor) -> tuple[TrainingOutput, ...]:
        """Compute what the losses need from normalised images (B, 3, S, S), one output per member.

        Members that compare an image with its mirror image compute in float32 also where autocast is on: the
        differences of alike features are too small for 8 bits.
        """
        outputs: list[TrainingOutput] = []
        mixed = torch.is_autocast_enabled(images.device.type)
        for member, seen in zip(self.members, member_images(self.architecture, images), strict=True):
            network = cast("MoEClip", member)
            with torch.autocast(images.device.type, enabled=mixed and not network.architecture.has_mirror):
                outputs += network.forward_images(seen)
        return tuple(outputs)

    def learned_state(self) -> dict[str, Tensor]:
        """Everything but the towers: what an adapters file holds."""
        return {name: tensor for name, tensor in self.state_dict().items() if ".tower." not in name}


def member_images(architecture: FusedArchitecture, images: Tensor) -> list[Tensor]:
    """What each member sees of normalised images (B, 3, S, S): its own size, mean and standard deviation."""
    shown = images * _column(images, architecture.std) + _column(images, architecture.mean)
    seen = []
    for member in architecture.members:
        resized = shown
        if member.image_size != architecture.image_size:
            matrix = resize_matrix(architecture.image_size, member.image_size).to(shown)
            resized = (matrix @ shown @ matrix.T).clamp(0, 1)
        seen.append((resized - _column(images, member.mean)) / _column(images, member.std))
    return seen


def added_maps(architecture: FusedArchitecture, maps: Sequence[Tensor]) -> Tensor:
    """The raw map (B, M, M) from the members' raw maps: the sum of their means over their token maps."""
    side = architecture.map_size
    parts = []
    for member, own in zip(architecture.members, maps, strict=True):
        resized = own
        if own.shape[-1] != side:
            resized = functional.interpolate(
                own.unsqueeze(1), size=(side, side), mode="bilinear", align_corners=False
            ).squeeze(1)
        parts.append(resized / member.map_count)
    return torch.stack(parts).sum(dim=0)


@cache
def resize_matrix(source: int, target: int) -> Tensor:
    """Bicubic, antialiased resizing along one axis as a matrix, (target, source): every exporter takes a product."""
    with torch.inference_mode(mode=False):  # it is kept, and may serve a training later
        identity = torch.eye(source)[None, None]
        return functional.interpolate(identity, size=(target, source), mode="bicubic", antialias=True)[0, 0]


def _column(like: Tensor, values: tuple[float, float, float]) -> Tensor:
    return like.new_tensor(values)[:, None, None]
