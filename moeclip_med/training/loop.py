"""The loop that every recipe shares: steps, logs, validation, checkpoints, exact resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from moeclip_transforms.errors import MissingExtraError

from moeclip_med.training.run_state import (
    BEST_FILE,
    LAST_FILE,
    TrainingProgress,
    claim_folder,
    resume_run,
    save_run,
    seed_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lightning.fabric import Fabric
    from torch import Tensor

    from moeclip_med.model.fused import FusedNetwork
    from moeclip_med.model.network import MoEClip
    from moeclip_med.model.outputs import TrainingOutput
    from moeclip_med.training.run_log import RunLog
    from moeclip_med.training.validation import Validation


Precision = Literal["bf16-mixed", "32-true"]
"""Lightning Fabric's names for how numbers are computed."""


class TrainingTask(Protocol):
    """A recipe made concrete: network, data and losses.

    Attributes:
        optimizer: With the learned parameters only.
        scheduler: Stepped after every optimizer step.
        steps_per_epoch: Batches per epoch.
        epochs: Epochs in all.
    """

    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    steps_per_epoch: int
    epochs: int

    @property
    def network(self) -> MoEClip | FusedNetwork:
        """What is trained."""

    def batches(self, epoch: int, first: int, fabric: Fabric) -> Iterator[Any]:
        """The batches of an epoch from number `first` on, this process's share of each."""

    def losses(self, network: Any, batch: Any) -> tuple[dict[str, Tensor], TrainingOutput]:  # noqa: ANN401
        """The weighted losses, which are summed, and what they were computed from."""

    def validate(self) -> Validation:
        """Evaluate the network as it is."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out; nothing here changes what it computes beyond rounding.

    Attributes:
        folder: Where checkpoints and logs go.
        seed: Of dropout.
        settings: Everything that shapes the run, as JSON; a resume compares it.
        precision: Fabric's name: "32-true", "bf16-mixed".
        device: "auto", "cpu", "cuda", "mps".
        devices: Number of devices.
        save_every: Steps between checkpoints.
        log_every: Steps between rows of the log.
    """

    folder: Path
    seed: int
    settings: dict[str, Any]
    precision: Precision = "32-true"
    device: str = "auto"
    devices: int = 1
    save_every: int = 100
    log_every: int = 10


def make_fabric(options: RunOptions) -> Fabric:
    """Lightning Fabric for the wanted devices.

    Raises:
        MissingExtraError: Lightning is not installed.
    """
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise MissingExtraError("lightning", "train", "Training") from error
    fabric = Fabric(accelerator=options.device, devices=options.devices, precision=options.precision)
    fabric.launch()
    return fabric


def run_training(
    task: TrainingTask, options: RunOptions, fabric: Fabric, on_step: Callable[[int, int, float], None] | None = None
) -> TrainingProgress:
    """Train to the end, from where an earlier call with the same settings stopped.

    Args:
        task: What to train.
        options: How.
        fabric: From `make_fabric`.
        on_step: Called with (steps done, steps in all, loss) after every step.

    Returns:
        The progress at the end; the best checkpoint lies in the run's folder.

    Raises:
        InputError: The folder holds a run with other settings.
    """
    from moeclip_med.training.run_log import RunLog

    resumes = claim_folder(options.folder, options.settings)
    progress = TrainingProgress()
    if resumes:
        progress = resume_run(options.folder / LAST_FILE, task.network, task.optimizer, task.scheduler)
    network, optimizer = fabric.setup(task.network, task.optimizer)
    for name in {"forward_training", "forward_images", "first_tokens"} & set(dir(task.network)):
        network.mark_forward_method(name)
    log = RunLog(options.folder, resumed_step=progress.step if resumes else None) if fabric.is_global_zero else None
    total = task.steps_per_epoch * task.epochs
    while progress.step < total:
        epoch, first = divmod(progress.step, task.steps_per_epoch)
        task.network.train()
        for batch in task.batches(epoch, first, fabric):
            seed_step(options.seed, progress.step, fabric.global_rank)
            with fabric.autocast():  # Fabric gives it to `forward` alone, not to the methods marked above
                losses, output = task.losses(network, batch)
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            task.scheduler.step()
            progress.step += 1
            if log is not None and progress.step % options.log_every == 0:
                log.scalars("train", progress.step, step_values(losses, output, optimizer))
            if on_step is not None:
                on_step(progress.step, total, float(loss.detach()))
            if log is not None and progress.step % options.save_every == 0:
                save_run(options.folder / LAST_FILE, task.network, task.optimizer, task.scheduler, progress)
        if log is not None:
            _end_epoch(task, options, progress, log, output)
        fabric.barrier()
    if log is not None:
        log.close()
    return progress


def _end_epoch(
    task: TrainingTask,
    options: RunOptions,
    progress: TrainingProgress,
    log: RunLog,
    output: TrainingOutput,
) -> None:
    """Validate, keep the best, show the experts."""
    validation = task.validate()
    progress.epoch += 1
    log.scalars("validation", progress.step, {"score": validation.score, **validation.values})
    for name, picture in validation.pictures.items():
        log.picture(name, progress.step, picture)
    for level, gram in enumerate(output.expert_grams):
        log.matrix(f"gram/level{level + 1}", progress.step, mean_gram(gram))
    if validation.score > progress.best_score:
        progress.best_score, progress.best_epoch = validation.score, progress.epoch
        save_run(options.folder / BEST_FILE, task.network, task.optimizer, task.scheduler, progress)
    save_run(options.folder / LAST_FILE, task.network, task.optimizer, task.scheduler, progress)


def mean_gram(gram: Tensor) -> Tensor:
    """The mean over tokens of (..., K, K) cosines, (K, K)."""
    return gram.detach().float().flatten(0, -3).mean(dim=0)


def step_values(
    losses: dict[str, Tensor], output: TrainingOutput, optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    """One row of the log: losses apart, and per level each expert's mean probability, entropy, largest cosine."""
    values = {"learning_rate": float(optimizer.param_groups[0]["lr"])}
    values |= {f"loss_{name}": float(value.detach()) for name, value in losses.items()}
    for level, probabilities in enumerate(output.router_probabilities, start=1):
        tokens = probabilities.detach().flatten(0, -2)
        entropy = -(tokens * tokens.clamp_min(1e-12).log()).sum(dim=-1).mean()
        values |= {f"use_level{level}_expert{e}": float(use) for e, use in enumerate(tokens.mean(dim=0), start=1)}
        values[f"entropy_level{level}"] = float(entropy)
        gram = mean_gram(output.expert_grams[level - 1])
        values[f"cosine_level{level}"] = float((gram - torch.eye(len(gram), device=gram.device)).max())
    return values
