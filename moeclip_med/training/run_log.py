"""What a run writes while it goes on: CSV for people and scripts, TensorBoard for watching."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from moeclip_transforms.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class RunLog:
    """Scalars by step in `NAME.csv` and, with pictures, in TensorBoard's format.

    Rows of steps that a resumed run repeats are dropped first, so that a log reads like one uninterrupted run.
    """

    def __init__(self, folder: Path, *, resumed_step: int | None = None) -> None:
        """Open the logs of a run.

        Args:
            folder: The run's folder.
            resumed_step: The step a resumed run goes on from; None for a new run.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "train", "Logging a training run") from error
        self.folder = folder
        self._resumed_step = resumed_step
        self._columns: dict[str, list[str]] = {}
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=None if resumed_step is None else resumed_step + 1
        )

    def scalars(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Append a row to `name.csv` and one point per value to TensorBoard as `name/key`.

        Args:
            name: Which table, for example "train" or "validation".
            step: Optimizer step.
            values: The row; every call for a name has the same keys.
        """
        path = self.folder / f"{name}.csv"
        columns = ["step", *values]
        if name not in self._columns:
            self._start(path, columns)
            self._columns[name] = columns
        row = io.StringIO(newline="")
        csv.DictWriter(row, self._columns[name]).writerow({"step": step, **values})
        with path.open("a", newline="", encoding="utf-8") as file:
            file.write(row.getvalue())
        for key, value in values.items():
            self._board.add_scalar(f"{name}/{key}", value, step)

    def matrix(self, name: str, step: int, matrix: Tensor) -> None:
        """Show a matrix of cosines (-1 to 1) as a picture, one enlarged pixel per entry."""
        picture = ((matrix.detach().float().cpu() + 1) / 2).clamp(0, 1)
        enlarged = picture.repeat_interleave(32, 0).repeat_interleave(32, 1)
        self._board.add_image(name, enlarged, step, dataformats="HW")

    def picture(self, name: str, step: int, picture: NDArray[np.uint8]) -> None:
        """Show an RGB picture, (rows, columns, 3), and keep it as `pictures/name-step.png`."""
        from PIL import Image

        folder = self.folder / "pictures"
        folder.mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / f"{name}-{step:06d}.png")
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush to disk."""
        self._board.close()

    def _start(self, path: Path, columns: list[str]) -> None:
        rows: list[dict[str, str]] = []
        if self._resumed_step is not None and path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self._resumed_step]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(rows)
