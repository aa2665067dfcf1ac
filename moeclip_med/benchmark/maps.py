"""Maps of other programs, read from files, beside the systems that run here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import BadCaseError, Fault, Problem
from moeclip_med.benchmark.grids import onto_grid
from moeclip_med.benchmark.systems import squashed
from moeclip_med.metrics.binning import Binning

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from moeclip_transforms import Affine, Volume
    from numpy.typing import NDArray

    from moeclip_med.benchmark.datasets.case import Case, Dataset

_VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
_PICTURES = (".png", ".tif", ".tiff", ".bmp")
_DICOM = (".dcm", "")
_ENDINGS = (".npy", *_VOLUMES, *_PICTURES, *_DICOM)
_WORDS = ("", "_raw", "_map", "_anomaly", "_score")
_SAMPLES = 4096
_LEVELS = 25
_TINY = 1e-12


@dataclass(frozen=True)
class MapSource:
    """Where the maps of another program lie.

    Attributes:
        name: Its key in tables.
        folder: Holds a map for each case, at the case's own path with another ending; or such folders by set.
        threshold: Its own threshold, on the scale of its maps; None where it has none.
    """

    name: str
    folder: Path
    threshold: float | None = None


class MapSystem:
    """A program that is known by its maps of one set.

    Args:
        source: Where they lie.
        dataset: The set.

    Raises:
        InputError: If the folder holds no map of the set.
    """

    has_lower_limit = False

    def __init__(self, source: MapSource, dataset: Dataset) -> None:
        self.name = source.name
        self._threshold = source.threshold
        own = source.folder / dataset.name
        self._root = own if own.is_dir() else source.folder
        self._paths = {case.key: path for case in dataset.cases if (path := self._find(case.key)) is not None}
        if not self._paths:
            raise InputError(
                f'--maps {source.name}: "{self._root}" holds no map of {dataset.name}; expected for the case '
                f'"{dataset.cases[0].key}" a file of that path with another ending ({", ".join(_ENDINGS[:-1])})'
            )

    def threshold_for(self, *, is_volumes: bool) -> float | None:  # noqa: ARG002 - the user gave one for both
        """Return the threshold that was given, None where none was."""
        return self._threshold

    @cached_property
    def _sample(self) -> NDArray[np.float64]:
        """Values of all maps, thinned: for the scale of bins and thresholds only, never for a figure."""
        parts = []
        for path in self._paths.values():
            values = _values(path).ravel()
            values = values[:: max(1, len(values) // _SAMPLES)]
            parts.append(values[np.isfinite(values)])
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(1)

    @cached_property
    def binning(self) -> Binning:
        """Over the range of the maps."""
        low, high = float(self._sample.min(initial=0.0)), float(self._sample.max(initial=1.0))
        return Binning(centre=(low + high) / 2, spread=max((high - low) / 4, _TINY))

    @cached_property
    def froc_thresholds(self) -> NDArray[np.float64]:
        """Quantiles of the maps, denser towards the highest."""
        return np.unique(np.quantile(self._sample, 1 - np.logspace(-0.3, -5, _LEVELS)))

    def scores(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squash into 0 to 1."""
        return squashed(raw, self.binning)

    def read(self, case: Case, volume: Volume) -> tuple[NDArray[np.float32], str]:
        """Read the map of a case.

        Returns:
            (x, y, z) float32 on the image's grid; what was done to get there, "" where nothing was.

        Raises:
            BadCaseError: If there is none, or it does not fit the image.
        """
        path = self._paths.get(case.key)
        if path is None:
            raise BadCaseError(Problem(Fault.MAP_MISSING, case.key, self.name))
        try:
            if path.name.lower().endswith((".npy", *_PICTURES)):
                return _fitted(_values(path), volume), ""
            values, affine = _placed(path)
            return onto_grid(values, affine, volume, nearest=False)
        except (InputError, OSError, ValueError) as error:
            raise BadCaseError(Problem(Fault.MAP_UNREADABLE, case.key, f"{self.name}: {error}")) from error

    def _find(self, key: str) -> Path | None:
        for stem in _stems(key):
            for word in _WORDS:
                for ending in _ENDINGS:
                    path = self._root / f"{stem}{word}{ending}"
                    if path.is_file():
                        return path
        return None


def _stems(key: str) -> Iterable[str]:
    """Return the paths that a map of a case may have, without ending: with the image's ending, and without."""
    yield key
    for ending in (*_VOLUMES, ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
        if key.lower().endswith(ending):
            yield key[: -len(ending)]


def _values(path: Path) -> NDArray[Any]:
    """Read the values alone: (rows, columns) of a picture, the file's own axes otherwise."""
    name = path.name.lower()
    if name.endswith(".npy"):
        values: NDArray[Any] = np.load(path, allow_pickle=False)
        return values
    if name.endswith(_PICTURES):
        from moeclip_transforms.pictures import PICTURE_FORMATS
        from PIL import Image

        with Image.open(path, formats=PICTURE_FORMATS) as image:
            values = np.asarray(image)
        if values.ndim != 2:  # noqa: PLR2004 - a picture of scores is grey
            raise InputError(f"holds colours, {values.shape}; expected grey values, or NumPy's format")
        return values / np.iinfo(values.dtype).max if values.dtype.kind == "u" else values
    return _placed(path)[0]


def _placed(path: Path) -> tuple[NDArray[Any], Affine]:
    """Read values with the affine of their grid."""
    if path.name.lower().endswith(_VOLUMES):
        from moeclip_transforms import read_volume

        volume = read_volume(path)
        return volume.array[0], volume.affine
    from moeclip_med.benchmark.datasets.dicom_truth import read_dicom_image

    return read_dicom_image(path)


def _fitted(values: NDArray[Any], volume: Volume) -> NDArray[np.float32]:
    """Turn values without a place into (x, y, z): pictures are (rows, columns), arrays of volumes (x, y, z)."""
    columns, rows, slices = volume.shape
    if values.shape == (rows, columns) and slices == 1:
        return np.asarray(values, dtype=np.float32).T[:, :, None]
    if values.shape == volume.shape:
        return np.asarray(values, dtype=np.float32)
    expected = f"{(rows, columns)}" if slices == 1 else f"{volume.shape}"
    raise InputError(f"is of shape {values.shape}; expected {expected}")
