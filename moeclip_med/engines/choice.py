"""Which engine, device and precision: as asked for, or by what the machine can do, and always said."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError, MissingExtraError
from moeclip_transforms.plugins import load, registered

from moeclip_med.engines import machine
from moeclip_med.engines.base import (
    ConversionError,
    Engine,
    EngineFactory,
    EngineRequest,
    EngineWarning,
    Precision,
    is_transformer,
)
from moeclip_med.engines.forked import refuse_forked_process
from moeclip_med.model.architecture import FusedArchitecture

if TYPE_CHECKING:
    from pathlib import Path

    from moeclip_med.weights import LoadedModel

AUTO = "auto"
GROUP = "moeclip_med.engines"


@dataclass(frozen=True)
class Choice:
    """What will run.

    Attributes:
        engine: The name that it is registered under.
        device: "cpu", "cuda:N" or "mps".
        precision: Its arithmetic.
        reasons: Why, one phrase per thing that was left to choose; empty where the user asked for all of it.
    """

    engine: str
    device: str
    precision: Precision
    reasons: tuple[str, ...]

    def describe(self, version: str, place: str) -> str:
        """One line for reports.

        Args:
            version: Version of the engine.
            place: What the device is called.
        """
        title = {"torch": "PyTorch", "openvino": "OpenVINO"}.get(self.engine, self.engine)
        why = f" (chosen: {'; '.join(self.reasons)})" if self.reasons else " (as asked for)"
        return f"{title} {version}, {self.precision} on {place}{why}"


def make_engine(
    model: LoadedModel,
    *,
    engine: str = AUTO,
    device: str = AUTO,
    precision: str = AUTO,
    threads: int | None = None,
    calibration: Path | None = None,
) -> Engine:
    """Make a model ready to run.

    Left to choose, the device is the first GPU, else the processor; on the processor the engine is OpenVINO where it
    is installed. The precision is half on a GPU; on a processor with bf16 arithmetic it is bf16 for a transformer,
    and float32 for a convolutional tower, which is fast enough and then scores alike on every machine. int8 is never
    chosen: it changes scores more than rounding does. The members of a fused network are chosen for one by one.

    Args:
        model: The network and its prompts.
        engine: `auto`, `torch`, `openvino`, or another that is registered ("moeclip_med.engines").
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `auto`, `f32`, `bf16`, `f16` or `int8`.
        threads: Threads on the processor; as many as the engine thinks best if None. PyTorch's are those of the whole
            process.
        calibration: Folder of industrial images to quantise with, for int8; the one named by the environment
            variable MOECLIP_MED_CALIBRATION, else synthetic images, if None.

    Raises:
        InputError: A wish that this machine cannot meet; the message names what is there.
        MissingExtraError: OpenVINO or quantisation was asked for and is not installed.
        RuntimeError: This process was forked after a network had been made ready in its parent.
    """
    refuse_forked_process()
    architecture = model.metadata.architecture
    if isinstance(architecture, FusedArchitecture):
        from moeclip_med.engines.fused_engine import FusedEngine

        engines = [
            make_engine(
                member, engine=engine, device=device, precision=precision, threads=threads, calibration=calibration
            )
            for member in model.members
        ]
        return FusedEngine(architecture, engines)
    choice = choose(model, engine=engine, device=device, precision=precision)
    request = EngineRequest(choice.device, choice.precision, choice.describe, threads, calibration)
    try:
        return _made(choice.engine, model, request)
    except ConversionError as error:
        if engine != AUTO or choice.precision is Precision.INT8:
            raise
        reason = f"OpenVINO is not used: {error} PyTorch runs the model instead, more slowly."
        warnings.warn(reason, EngineWarning, stacklevel=2)
        again = choose(model, engine="torch", device=choice.device, precision=precision)
        weaker = EngineRequest(again.device, again.precision, again.describe, threads, fallback_reason=reason)
        return _made("torch", model, weaker)


def _made(name: str, model: LoadedModel, request: EngineRequest) -> Engine:
    factory: EngineFactory = load(GROUP, name)
    return factory(model, request)


def choose(model: LoadedModel, *, engine: str, device: str, precision: str) -> Choice:
    """Decide what was left open; see `make_engine`.

    Raises:
        InputError: A wish that this machine cannot meet.
        MissingExtraError: OpenVINO was asked for and is not installed.
    """
    reasons: list[str] = []
    found_device = _choose_device(device, engine, reasons)
    found_engine = _choose_engine(engine, found_device, precision, reasons)
    found_precision = _choose_precision(model, found_engine, found_device, precision, reasons)
    return Choice(found_engine, found_device, found_precision, tuple(reasons))


def _choose_device(wish: str, engine: str, reasons: list[str]) -> str:
    if engine == "openvino" and wish == AUTO:
        return "cpu"
    there = machine.devices()
    if wish == AUTO:
        reasons.append(f"{there[0]} is the first GPU" if len(there) > 1 else "no GPU that PyTorch can use")
        return there[0]
    named = "cuda:0" if wish == "cuda" else wish
    if named not in there:
        raise InputError(
            f'device "{wish}" is not there; this machine has {_listed(there)}: choose one of them, or auto.'
        )
    return named


def _choose_engine(wish: str, device: str, precision: str, reasons: list[str]) -> str:
    if wish not in {AUTO, *registered(GROUP)}:
        raise InputError(f'engine "{wish}" is unknown; choose {_listed([AUTO, *sorted(registered(GROUP))])}.')
    if wish == AUTO:
        return _best_engine(device, precision, reasons)
    if wish == "openvino":
        _need("openvino", 'engine "openvino"')
        if device != "cpu":
            raise InputError(
                f'engine "openvino" runs on the processor, not on "{device}"; use --device cpu or --engine torch.'
            )
    return wish


def _best_engine(device: str, precision: str, reasons: list[str]) -> str:
    if device != "cpu":
        return "torch"
    if precision == Precision.INT8:
        _need("openvino", 'precision "int8"')
    if machine.has_openvino():
        reasons.append("OpenVINO is the faster engine on a processor")
        return "openvino"
    reasons.append('OpenVINO, several times faster, is not installed: pip install "moeclip-med[openvino]"')
    return "torch"


def _choose_precision(model: LoadedModel, engine: str, device: str, wish: str, reasons: list[str]) -> Precision:
    there = machine.precisions(engine, device)
    if wish == AUTO:
        best, reason = _best_precision(there, device, is_transformer=is_transformer(model.metadata.architecture))
        reasons.append(reason)
        return best
    if wish not in there:
        raise InputError(
            f'precision "{wish}" is not there for engine "{engine}" on this machine\'s "{device}", which has '
            f"{_listed([str(item) for item in there])}: choose one of them, or auto."
        )
    if wish == Precision.INT8:
        _need("nncf", 'precision "int8"')
    return Precision(wish)


def _best_precision(there: list[Precision], device: str, *, is_transformer: bool) -> tuple[Precision, str]:
    if device != "cpu":
        return Precision.F16, "half precision on a GPU"
    if not is_transformer:
        return Precision.F32, "float32 is fast enough for a convolutional tower"
    if Precision.BF16 in there:
        return Precision.BF16, "the processor has bf16 arithmetic"
    return Precision.F32, "the processor has no bf16 arithmetic"


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _need(package: str, purpose: str) -> None:
    """Make sure that a package of the extra "openvino" is there."""
    if find_spec(package) is None:
        raise MissingExtraError(package, "openvino", purpose)
