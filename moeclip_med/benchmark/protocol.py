"""How maps are compared with masks: the published convention, and two that a user of one's own images wants."""

from __future__ import annotations

from enum import StrEnum


class Protocol(StrEnum):
    """Where pixels are compared.

    PAPER: every image stretched to 518 × 518, maps and masks compared there, as in the published tables.
    NATIVE: images as `moeclip-med score` sees them, maps compared on the image's own pixels or voxels.
    FOREGROUND: the same maps, pixels of the background excluded everywhere, from the score of an image too: air is
        easily told from a lesion, and a large black surround lifts every pixel figure.
    """

    PAPER = "paper"
    NATIVE = "native"
    FOREGROUND = "foreground"


class ProtocolChoice(StrEnum):
    """Which protocols a run follows; AUTO takes the paper's where the set is one of the paper's, and both others."""

    AUTO = "auto"
    PAPER = "paper"
    NATIVE = "native"
    ALL = "all"


def protocols_for(choice: ProtocolChoice, *, in_paper: bool, is_volumes: bool) -> tuple[Protocol, ...]:
    """Return the protocols of a set, the one that its headline figures follow first: foreground before whole frames.

    There is no published convention for volumes.
    """
    own = (Protocol.FOREGROUND, Protocol.NATIVE)
    if is_volumes or choice is ProtocolChoice.NATIVE or (choice is ProtocolChoice.AUTO and not in_paper):
        return own
    if choice is ProtocolChoice.PAPER:
        return (Protocol.PAPER,)
    return (Protocol.PAPER, *own) if in_paper else (*own, Protocol.PAPER)
