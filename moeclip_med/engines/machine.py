"""What this machine can compute with."""

from __future__ import annotations

import platform
from functools import cache
from importlib.util import find_spec

from moeclip_med.engines.base import Precision


def has_openvino() -> bool:
    """Whether the extra is installed; does not import it."""
    return find_spec("openvino") is not None


@cache
def torch_has_native_bf16() -> bool:
    """Whether PyTorch's products in bf16 are faster than in float32 on this processor.

    PyTorch runs bf16 everywhere, but without instructions for it (AVX-512-BF16, AMX) it only emulates.
    """
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        found = capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(question is not None and question() for question in asked)


@cache
def openvino_has_native_bf16() -> bool:
    """Whether OpenVINO's processor plugin computes in bf16 here."""
    from moeclip_med.engines.openvino_import import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def devices() -> list[str]:
    """The devices that PyTorch finds, the processor last."""
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def precisions(engine: str, device: str) -> list[Precision]:
    """The precisions that an engine has on a device of this machine, the most exact first."""
    if engine == "openvino":
        return [Precision.F32, *([Precision.BF16] if openvino_has_native_bf16() else []), Precision.INT8]
    if device == "cpu":
        return [Precision.F32, *([Precision.BF16] if torch_has_native_bf16() else [])]
    return [Precision.F32, Precision.F16, *([Precision.BF16] if has_native_bf16(device) else [])]


def has_native_bf16(device: str) -> bool:
    """Whether a GPU computes in bf16 without emulating it."""
    import torch

    return device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)


@cache
def processor_name() -> str:
    """The processor as its maker calls it, as far as the system tells."""
    if has_openvino():
        from moeclip_med.engines.openvino_import import openvino

        return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))
    return platform.processor() or platform.machine()
