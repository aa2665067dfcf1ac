"""`--filter`: which series are scored, by what their headers say."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from moeclip_transforms.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from moeclip_transforms import Series

NUMBERS: dict[str, Callable[[Series], int]] = {
    "columns": lambda series: series.shape[0],
    "rows": lambda series: series.shape[1],
    "slices": lambda series: series.shape[2],
    "files": lambda series: len(series.files),
}
TEXTS: dict[str, Callable[[Series], str]] = {
    "modality": lambda series: series.modality,
    "kind": lambda series: series.image_type.value,
    "format": lambda series: series.format.value,
    "description": lambda series: series.description,
    "path": lambda series: series.files[0].as_posix() if series.files else "",
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_FORM = re.compile(r"\s*([a-z]+)\s*(!=|>=|<=|=)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class SeriesFilter:
    """One condition: a field, a comparison, a value.

    Attributes:
        field: `modality`, `kind`, `format`, `description`, `path`; or `slices`, `rows`, `columns`, `files`.
        comparison: `=` or `!=`; for numbers also `>=` and `<=`.
        value: A number; or texts divided by commas, with `*` and `?`, in any case.
    """

    field: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> SeriesFilter:
        """Read a condition such as `modality=CT,MR` or `slices>=20`.

        Raises:
            InputError: If the text has another form, or names a field that does not exist.
        """
        match = _FORM.fullmatch(text)
        if match is None or match.group(1) not in NUMBERS | TEXTS:
            fields = ", ".join([*TEXTS, *NUMBERS])
            raise InputError(
                f'--filter "{text}" is not understood; write FIELD=VALUE with one of {fields}, e.g. "modality=CT,MR"'
            )
        name, comparison, value = match.groups()
        if name in NUMBERS and not value.isdecimal():
            raise InputError(
                f'--filter "{text}" compares {name} with "{value}"; write a whole number, e.g. "{name}>=20"'
            )
        if name in TEXTS and comparison not in {"=", "!="}:
            raise InputError(
                f'--filter "{text}" compares a text by {comparison}; write "{name}={value}" or "{name}!={value}"'
            )
        return cls(name, comparison, value)

    def accepts(self, series: Series) -> bool:
        """Whether a series meets the condition."""
        if self.field in NUMBERS:
            return _COMPARISONS[self.comparison](NUMBERS[self.field](series), int(self.value))
        text = TEXTS[self.field](series).lower()
        matches = any(fnmatchcase(text, pattern.strip().lower()) for pattern in self.value.split(","))
        return matches == (self.comparison == "=")

    def __str__(self) -> str:
        return f"{self.field}{self.comparison}{self.value}"


def reason_to_leave_out(series: Series, filters: Iterable[SeriesFilter]) -> str:
    """Say why a series is not scored: its own skip reason, or the first filter that it does not meet; "" if it is."""
    if series.skip_reason:
        return series.skip_reason
    for condition in filters:
        if not condition.accepts(series):
            return f"excluded by --filter on {condition.field}"
    return ""
