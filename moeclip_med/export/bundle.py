"""The files of a MONAI bundle beside its weights; `python -m monai.bundle run` scores single images with it."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Any

import monai
import numpy as np
import torch
from moeclip_transforms.errors import InputError

from moeclip_med._version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.weights import ModelMetadata

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json"


def write_bundle_files(metadata: ModelMetadata, folder: Path) -> None:
    """Write `configs/metadata.json`, `configs/inference.json` and `LICENSE`; `models/` is made empty.

    Args:
        metadata: Of the model.
        folder: The bundle's folder, which exists.
    """
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    for name, content in (("metadata", bundle_metadata(metadata)), ("inference", bundle_inference(metadata))):
        if name == "metadata":
            _check_plain(content)
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / "configs" / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    terms = "\n".join(f"- {data.name}: {data.terms}" for data in metadata.training_data)
    licence = f"Adapters: {metadata.licence}\nTower: {metadata.tower_licence}\n\nTrained on:\n{terms}\n"
    (folder / "LICENSE").write_text(licence, encoding="utf-8")


def _check_plain(content: object) -> None:
    """Refuse texts that MONAI would run or resolve: the model's description may come from a stranger.

    Raises:
        InputError: A text starts with "$", "@" or "%".
    """
    if isinstance(content, dict):
        for key, item in content.items():
            _check_plain(key)
            _check_plain(item)
    elif isinstance(content, list):
        for item in content:
            _check_plain(item)
    elif isinstance(content, str) and content.lstrip()[:1] in {"$", "@", "%"}:
        raise InputError(
            f"the model's description holds {ascii(content)[:80]}, which is code in a MONAI bundle; it is not exported"
        )


def bundle_metadata(metadata: ModelMetadata) -> dict[str, Any]:
    """What MONAI's bundle format wants to know."""
    size, side = metadata.architecture.image_size, metadata.architecture.map_size
    image = {"type": "image", "format": "magnitude", "num_channels": 3, "spatial_shape": [size, size]}
    return {
        "schema": SCHEMA,
        "version": metadata.version,
        "changelog": {metadata.version: f"exported by moeclip-med {__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "python_version": platform.python_version(),
        "required_packages_version": {},
        "task": "zero-shot anomaly maps of single 2-D images",
        "description": (
            f"{metadata.name}: images in [0, 1] to anomaly scores in [0, 1]; {metadata.threshold.value:g} is the "
            f"threshold ({metadata.threshold.source}). Research use only: not a medical device."
        ),
        "authors": "MoECLIP-Med developers",
        "copyright": metadata.licence,
        "intended_use": "Research only. It does not frame the foreground of volumes; moeclip-med score does.",
        "network_data_format": {
            "inputs": {
                "image": {**image, "dtype": "float32", "value_range": [0, 1], "is_patch_data": False,
                          "channel_def": {"0": "red", "1": "green", "2": "blue"}}
            },
            "outputs": {
                "pred": {"type": "image", "format": "raw", "num_channels": 1, "spatial_shape": [side, side],
                         "dtype": "float32", "value_range": [], "is_patch_data": False,
                         "channel_def": {"0": "anomaly, unbounded"}}
            },
        },
    }  # fmt: skip


def bundle_inference(metadata: ModelMetadata) -> dict[str, Any]:
    """A MONAI configuration that scores every image of `--dataset_dir` and writes PNG scores (0-255)."""
    size, scale = metadata.architecture.image_size, metadata.score_scale
    squash = f"lambda raw: 1 / (1 + torch.exp(-(raw - {scale.centre!r}) / {scale.spread!r}))"
    return {
        "imports": ["$import glob", "$import os", "$import torch", "$from monai.data import MetaTensor"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/output'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.*')))",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader", "converter":
                    "$lambda image: image.convert('RGB')", "ensure_channel_first": True},
                {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0,
                 "b_max": 1, "clip": True},
                {"_target_": "Resized", "keys": "image", "spatial_size": [size, size], "mode": "bicubic",
                 "anti_aliasing": True},
                # PILReader gives (column, row); the network takes (row, column).
                {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x.transpose(1, 2).clamp(0, 1)"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': path} for path in @datalist]",
                    "transform": "@preprocessing"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "pred", "func": f"${squash}"},
                {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x.transpose(1, 2)"},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "anomaly",
                 "output_ext": ".png", "scale": 255, "resample": False, "separate_folder": False},
            ],
        },
        "score": "$lambda network, item, device: MetaTensor("
        "network(item['image'][None].as_tensor().to(device)).detach().cpu(), meta=item['image'].meta)",
        # Arguments, not closures: what is named with @ is not visible inside a comprehension.
        "run": [
            "$@network_def.eval()",
            ("$(lambda score, network, device, data, post: [post({'pred': score(network, item, device)}) for item in "
            "data])(@score, @network_def, @device, @dataset, @postprocessing)"),
        ],
    }  # fmt: skip
