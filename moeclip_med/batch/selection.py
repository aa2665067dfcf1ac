"""`--select`: rules in YAML that choose among the series of a study, by any attribute of their headers.

A series belongs to the first rule whose conditions it meets; of those that belong to a rule, all, the largest, or the
largest of each plane are scored. What belongs to no rule is skipped. The file is checked against a JSON schema
(`select.schema.json`). Regular expressions meet text that strangers wrote, so each has a time limit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from moeclip_transforms.errors import InputError

from moeclip_med.batch.filters import NUMBERS, TEXTS, reason_to_leave_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from moeclip_transforms import Series

    from moeclip_med.batch.filters import SeriesFilter

_LARGEST_FILE = 2**20
_LONGEST_TEXT = 1024
_PATTERN_SECONDS = 0.2
_PLANES = ("sagittal", "coronal", "axial")
NO_RULE = "no rule of --select takes it"


@dataclass(frozen=True)
class SeriesDecision:
    """What becomes of one series.

    Attributes:
        reason: Why it is skipped, or "".
        rule: The rule that takes it, or "".
        is_filtered: Whether a filter or rule leaves it out, not its own header.
    """

    reason: str = ""
    rule: str = ""
    is_filtered: bool = False


@dataclass(frozen=True)
class Condition:
    """What one attribute has to be; conditions that are None are not asked.

    Attributes:
        field: A DICOM keyword or tag, or a name of `filters`, or "plane".
        values: The value is one of these: numbers are compared as numbers, texts in any case.
        least: The value is a number, at least this.
        most: The value is a number, at most this.
        pattern: A regular expression that is found in the text.
        barred: A regular expression that is not.
        exists: Whether there is a value at all.
    """

    field: str
    values: tuple[str | float, ...] | None = None
    least: float | None = None
    most: float | None = None
    pattern: str | None = None
    barred: str | None = None
    exists: bool | None = None

    def holds(self, text: str) -> bool:
        """Whether a value, as text, "" where there is none, meets the condition."""
        number = _number(text)
        return all(
            (
                self.values is None or any(_equals(text, number, value) for value in self.values),
                self.least is None or (number is not None and number >= self.least),
                self.most is None or (number is not None and number <= self.most),
                self.pattern is None or self._finds(self.pattern, text),
                self.barred is None or not self._finds(self.barred, text),
                self.exists is None or self.exists == bool(text),
            )
        )

    def _finds(self, pattern: str, text: str) -> bool:
        import regex

        try:
            return regex.search(pattern, text[:_LONGEST_TEXT], timeout=_PATTERN_SECONDS) is not None
        except TimeoutError:
            raise InputError(
                f'--select: the expression "{pattern}" on {self.field} takes too long; write it without nested repeats'
            ) from None


@dataclass(frozen=True)
class SelectionRule:
    """One rule.

    Attributes:
        name: As it is listed.
        conditions: All have to hold.
        take: "all", "largest" or "one per plane".
        is_scored: Whether what it takes is scored; else it is skipped.
    """

    name: str
    conditions: tuple[Condition, ...]
    take: str = "all"
    is_scored: bool = True


@dataclass(frozen=True)
class Selection:
    """The rules of a file.

    Attributes:
        rules: In their order.
        text: The file's text: with another one, what was skipped is looked at again.
    """

    rules: tuple[SelectionRule, ...]
    text: str

    @classmethod
    def read(cls, path: Path) -> Selection:
        """Read a file of rules.

        Raises:
            InputError: If it cannot be read, is no YAML, breaks the schema, or names an attribute that does not exist.
        """
        import yaml

        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise InputError(f'--select "{path}" has {path.stat().st_size} bytes; at most {_LARGEST_FILE} are read')
            text = path.read_text(encoding="utf-8")
            content = yaml.safe_load(text)
        except OSError as error:
            raise InputError(f'--select "{path}" cannot be read ({error.strerror or error}); check the path') from error
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f'--select "{path}" is no YAML ({" ".join(str(error).split())[:200]})') from error
        _check_schema(path, content)
        return cls(tuple(_rule(path, rule) for rule in content["rules"]), text)

    def decide(self, series: Sequence[Series]) -> list[SeriesDecision]:
        """Decide about all series of one study that are worth scoring and pass the filters."""
        fields = sorted({condition.field for rule in self.rules for condition in rule.conditions} | {"plane"})
        values = [_values(found, fields) for found in series]
        owner = [
            next((rule for rule in self.rules if all(c.holds(value[c.field]) for c in rule.conditions)), None)
            for value in values
        ]
        taken = {id(rule): _taken(rule, series, owner, values) for rule in self.rules}
        return [
            _decision(rule, is_taken=rule is not None and index in taken[id(rule)]) for index, rule in enumerate(owner)
        ]


def decide(
    series: Sequence[Series], filters: Iterable[SeriesFilter], selection: Selection | None
) -> list[SeriesDecision]:
    """Decide which series of one study are scored: by their headers, the filters, then the rules."""
    decisions = []
    for found in series:
        reason = reason_to_leave_out(found, filters)
        decisions.append(SeriesDecision(reason, is_filtered=bool(reason) and not found.skip_reason))
    if selection is None:
        return decisions
    left = [index for index, decision in enumerate(decisions) if not decision.reason]
    for index, decision in zip(left, selection.decide([series[index] for index in left]), strict=True):
        decisions[index] = decision
    return decisions


def _decision(rule: SelectionRule | None, *, is_taken: bool) -> SeriesDecision:
    if rule is None:
        return SeriesDecision(NO_RULE, is_filtered=True)
    if not rule.is_scored:
        return SeriesDecision(f"excluded by rule {rule.name}", rule.name, is_filtered=True)
    if not is_taken:
        what = "the largest of the study" if rule.take == "largest" else "the largest of its plane"
        return SeriesDecision(f"rule {rule.name} takes {what}", rule.name, is_filtered=True)
    return SeriesDecision(rule=rule.name)


def _taken(
    rule: SelectionRule,
    series: Sequence[Series],
    owner: Sequence[SelectionRule | None],
    values: Sequence[dict[str, str]],
) -> set[int]:
    """The indices of the series that a rule takes, of those that belong to it."""
    own = [index for index, found in enumerate(owner) if found is rule]
    if rule.take == "all":
        return set(own)
    # The most voxels; the first identifier where two have as many, so that every run chooses the same.
    own.sort(key=lambda index: (-_voxels(series[index]), series[index].uid))
    first: dict[str, int] = {}
    for index in own:
        first.setdefault(values[index]["plane"] if rule.take == "one per plane" else "", index)
    return set(first.values())


def _voxels(series: Series) -> int:
    columns, rows, slices, _ = series.shape
    return columns * rows * slices


def _values(series: Series, fields: Sequence[str]) -> dict[str, str]:
    """The values of a series as text, "" where its header has none."""
    from moeclip_transforms.dicom_header import read_header
    from moeclip_transforms.volume import FileFormat

    wanted = [field for field in fields if field not in NUMBERS | TEXTS and field != "plane"]
    header = None
    if series.format is FileFormat.DICOM and series.files:
        keywords = [*(_keyword(field) for field in wanted), *_GEOMETRY]
        header = read_header(series.files[0], keywords=keywords, force=True)
    values: dict[str, str] = {}
    for field in fields:
        if field in NUMBERS:
            values[field] = str(NUMBERS[field](series))
        elif field in TEXTS:
            values[field] = TEXTS[field](series)
        elif field == "plane":
            values[field] = _plane(series)
        else:
            values[field] = "" if header is None else _value(header, _keyword(field))
    return values


_GEOMETRY = ("ImageOrientationPatient", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
             "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel")  # fmt: skip


def _value(header: Any, keyword: str) -> str:  # noqa: ANN401 - pydicom's values are untyped
    """One attribute as text: several values with backslashes between them."""
    try:
        value = header.get(keyword)
    except Exception:  # noqa: BLE001 - a damaged element has no value
        return ""
    if value is None:
        return ""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return str(value).strip()
    try:
        return "\\".join(str(item) for item in value).strip()
    except (TypeError, ValueError):
        return str(value).strip()


def _plane(series: Series) -> str:
    """The anatomical plane that slices are nearest to, "" where the header does not tell."""
    orientation = series.volumes[0][0].orientation if series.volumes else None
    if orientation is None:
        return ""
    a, b = orientation[:3], orientation[3:]
    normal = [abs(a[(i + 1) % 3] * b[(i + 2) % 3] - a[(i + 2) % 3] * b[(i + 1) % 3]) for i in range(3)]
    return _PLANES[normal.index(max(normal))]


def _keyword(field: str) -> str:
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(field.replace(",", "")) if "," in field else field


def _check_schema(path: Path, content: object) -> None:
    import jsonschema

    schema = json.loads(files(__package__).joinpath("select.schema.json").read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "the whole"
        raise InputError(f'--select "{path}": {place}: {error.message[:200]}')


def _rule(path: Path, rule: dict[str, Any]) -> SelectionRule:
    conditions = tuple(_condition(path, field, wanted) for field, wanted in rule.get("where", {}).items())
    return SelectionRule(rule["name"], conditions, rule.get("take", "all"), rule.get("score", True))


def _condition(path: Path, field: str, wanted: Any) -> Condition:  # noqa: ANN401 - checked by the schema
    import regex
    from pydicom.datadict import tag_for_keyword

    if field not in NUMBERS | TEXTS and field != "plane" and tag_for_keyword(_keyword(field) or "-") is None:
        own = ", ".join([*TEXTS, *NUMBERS, "plane"])
        raise InputError(f'--select "{path}": "{field}" is no DICOM keyword or tag, and none of {own}')
    if isinstance(wanted, list):
        return Condition(field, values=tuple(wanted))
    if not isinstance(wanted, dict):
        return Condition(field, values=(wanted,))
    for pattern in (wanted.get("matches"), wanted.get("not")):
        try:
            regex.compile(pattern or "")
        except regex.error as error:
            raise InputError(
                f'--select "{path}": the expression "{pattern}" on {field} is malformed ({error})'
            ) from error
    return Condition(
        field,
        least=wanted.get("min"),
        most=wanted.get("max"),
        pattern=wanted.get("matches"),
        barred=wanted.get("not"),
        exists=wanted.get("exists"),
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _equals(text: str, number: float | None, wanted: str | float) -> bool:
    if isinstance(wanted, str):
        return text.casefold() == wanted.casefold()
    return number is not None and number == wanted
