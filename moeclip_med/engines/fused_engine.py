"""Several networks that see the same image, each by the engine and in the arithmetic that suit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moeclip_med.model.fused import added_maps, member_images
from moeclip_med.model.network import check_image_size
from moeclip_med.model.outputs import NetworkOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from moeclip_med.engines.base import Engine
    from moeclip_med.model.architecture import FusedArchitecture


class FusedEngine:
    """Runs the members of a fused network one after the other and adds their maps.

    Attributes:
        name: That of the members' engine.
        description: What runs each of them where, in which arithmetic, and why.
        batch_size: Images at a time that suit the member that takes the fewest.
        fallback_reason: Those of the members, one after the other; "" where all run as meant.
    """

    def __init__(self, architecture: FusedArchitecture, engines: Sequence[Engine]) -> None:
        """Put engines side by side.

        Args:
            architecture: Of the fused network.
            engines: One per member, in its order.
        """
        self.architecture, self.engines = architecture, tuple(engines)
        self.name = self.engines[0].name
        self.batch_size = min(engine.batch_size for engine in self.engines)
        self.fallback_reason = " ".join(filter(None, (engine.fallback_reason for engine in self.engines)))
        self.description = "; ".join(
            f"{member.tower.name}: {engine.description}"
            for member, engine in zip(architecture.members, self.engines, strict=True)
        )

    def run(self, images: Tensor, *, want_routing: bool = False) -> NetworkOutput:
        """Map anomalies; see `Engine.run`. The routing is that of all members' levels."""
        check_image_size(images, self.architecture.image_size)
        seen = member_images(self.architecture, images)
        outputs = [engine.run(own, want_routing=want_routing) for engine, own in zip(self.engines, seen, strict=True)]
        routing = tuple(level for output in outputs for level in output.routing or ())
        maps = added_maps(self.architecture, [output.maps for output in outputs])
        return NetworkOutput(maps, routing=routing if want_routing else None)
