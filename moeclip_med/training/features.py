"""Features of the frozen first stage, computed once and kept on disk as bfloat16.

Nothing before the first experts changes in training, so its output is computed once per training image: less than a
tenth of the bytes of a float32 forward pass is kept, and every later pass over the list costs only the rest.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from moeclip_med.industrial.mix import Sample

ENCODED_AT_ONCE = 16

SMALLEST_COVER = 0.25
"""A cell of the loss grid is defective where at least this share of its pixels is."""


class SampleList(Protocol):
    """Training images by number; `Mix` is one."""

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class FeatureStore:
    """Features and masks of a list of training images, mapped from disk.

    Attributes:
        features: (images, h, w, width) bfloat16, stored as the bits in uint16.
        masks: (images, m, m) bool at the resolution of the loss.
        kinds: (images,) uint8, `SampleKind`.
    """

    features: NDArray[np.uint16]
    masks: NDArray[np.bool_]
    kinds: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.kinds)

    def batch(self, indices: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, h, w, width) bfloat16, masks (B, m, m) bool and kinds (B,) of some images."""
        ordered = np.sort(indices)  # reading forwards is kinder to the disk; order within a batch is free
        bits = torch.from_numpy(self.features[ordered].view(np.int16))
        return bits.view(torch.bfloat16), torch.from_numpy(self.masks[ordered]), torch.from_numpy(self.kinds[ordered])


def loss_mask(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """A (size, size) mask on the loss grid (side, side); defects too thin for any cell keep their fullest cells."""
    block = mask.shape[0] // side
    cover = mask.reshape(side, block, side, block).mean(axis=(1, 3))
    return np.asarray(cover >= min(SMALLEST_COVER, max(float(cover.max()), 1e-6)), dtype=np.bool_)


def open_store(
    folder: Path,
    samples: SampleList,
    numbers: Sequence[int],
    encode: Callable[[Tensor], Tensor],
    *,
    normalise: Callable[[Tensor], Tensor],
    loss_side: int,
    on_done: Callable[[int, int], None] | None = None,
) -> FeatureStore:
    """The features of some training images: from disk where an earlier call finished, else computed now.

    Args:
        folder: Where they are kept. It has to be one folder per list: what it holds is trusted.
        samples: The training images.
        numbers: Which of them.
        encode: From normalised images (B, 3, size, size) to tokens (B, h, w, width).
        normalise: From images in [0, 1] to what the tower takes.
        loss_side: Side of the loss grid.
        on_done: Called with (images done, images in all).

    Raises:
        InputError: The features of an earlier call are damaged.
    """
    if not (folder / "shape.json").exists():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        shape: tuple[int, ...] = ()
        masks, kinds = [], []
        with (partial / "features.bin").open("wb") as file:
            for tokens, batch in encoded(samples, numbers, encode, normalise):
                shape = tuple(tokens.shape[1:])
                file.write(tokens.contiguous().to(torch.bfloat16).view(torch.int16).numpy().tobytes())
                masks += [loss_mask(sample.mask, loss_side) for sample in batch]
                kinds += [int(sample.kind) for sample in batch]
                if on_done is not None:
                    on_done(len(kinds), len(numbers))
        np.save(partial / "masks.npy", np.stack(masks))
        np.save(partial / "kinds.npy", np.array(kinds, dtype=np.uint8))
        (partial / "shape.json").write_text(json.dumps([len(kinds), *shape]), encoding="utf-8")
        partial.replace(folder)
    try:
        full = tuple(json.loads((folder / "shape.json").read_text(encoding="utf-8")))
        features = np.memmap(folder / "features.bin", dtype=np.uint16, mode="r", shape=full)
        return FeatureStore(features, np.load(folder / "masks.npy"), np.load(folder / "kinds.npy"))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f'"{folder}" is damaged: delete it; its features are then computed again.') from error


def encoded(
    samples: SampleList,
    numbers: Sequence[int],
    encode: Callable[[Tensor], Tensor],
    normalise: Callable[[Tensor], Tensor],
) -> Iterator[tuple[Tensor, list[Sample]]]:
    """Tokens and images batch by batch; the next batch is drawn while this one is encoded."""
    groups = [numbers[start : start + ENCODED_AT_ONCE] for start in range(0, len(numbers), ENCODED_AT_ONCE)]

    def draw(group: Sequence[int]) -> list[Sample]:
        return [samples[number] for number in group]

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(draw, groups[0])
        for following in [*groups[1:], None]:
            batch = coming.result()
            if following is not None:
                coming = pool.submit(draw, following)
            images = torch.from_numpy(np.stack([sample.image for sample in batch])).permute(0, 3, 1, 2)
            yield encode(normalise(images.float() / 255)), batch


def stage_encoder(stage: nn.Module, size: int) -> tuple[Callable[[Tensor], Tensor], str]:
    """The fastest way to run a frozen stage here: OpenVINO on a CPU where it is installed, else PyTorch.

    Args:
        stage: From images (B, 3, size, size) to tokens.
        size: Side of the images.

    Returns:
        The encoder, and what it runs on and in which precision: part of what stored features are named after.
    """
    parameter = next(stage.parameters())
    if parameter.device.type == "cpu":
        try:
            return openvino_encoder(stage, size)
        except ImportError:
            pass

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        tokens: Tensor = stage(images.to(parameter.device))
        return tokens.float().cpu()

    return encode, f'PyTorch ({parameter.device.type}; with the extra "openvino" a CPU is faster)'


def openvino_encoder(stage: nn.Module, size: int) -> tuple[Callable[[Tensor], Tensor], str]:
    """Compile a stage with OpenVINO, in the processor's own precision: bfloat16 where that is fast."""
    from moeclip_med.engines.openvino_convert import to_openvino
    from moeclip_med.engines.openvino_import import openvino

    model = to_openvino(stage, (torch.zeros(2, 3, size, size),))
    compiled = openvino.compile_model(model, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})

    def encode(images: Tensor) -> Tensor:
        return torch.from_numpy(compiled(images.numpy())[0])

    precision = compiled.get_property("INFERENCE_PRECISION_HINT")
    return encode, f"OpenVINO ({precision.get_type_name()})"
