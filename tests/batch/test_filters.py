"""`--filter`: what it takes and what it answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from moeclip_transforms.errors import InputError
from moeclip_transforms.volume import FileFormat, ImageType, Series
from sentences import lacking

from moeclip_med.batch.filters import SeriesFilter, reason_to_leave_out

SERIES = Series(
    uid="1.2.3", format=FileFormat.DICOM, files=(Path("archive/2024/IM1"), Path("archive/2024/IM2")), modality="CT",
    image_type=ImageType.CT_BRAIN, study_uid="1.2", shape=(512, 256, 40, 1), channels=1,
    description="Head, THIN slices",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "modality=CT", "modality = mr, ct", "modality!=MR", "kind=ct-*", "format=dicom", "description=*thin*",
        "description!=*scout*", "path=*/2024/*", "slices>=40", "slices<=40", "slices=40", "slices!=41", "columns=512",
        "rows=256", "files>=2",
    ],
)  # fmt: skip
def test_conditions_that_it_meets(text):
    assert SeriesFilter.parse(text).accepts(SERIES)


@pytest.mark.parametrize("text", ["modality=MR", "modality!=CT", "kind=mr", "slices>=41", "slices<=39", "slices!=40"])
def test_conditions_that_it_does_not_meet(text):
    assert not SeriesFilter.parse(text).accepts(SERIES)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("CT", ["FIELD=VALUE", "modality, kind, format, description, path", "slices", '"modality=CT,MR"']),
        ("colour=red", ["FIELD=VALUE", "modality, kind, format, description, path", "slices", '"modality=CT,MR"']),
        ("slices>=many", ['"many"', "; write a whole number", '"slices>=20"']),
        ("kind>=mr", ["text", ">=", '; write "kind=mr" or "kind!=mr"']),
    ],
)
def test_what_is_not_understood_is_said(text, tokens):
    with pytest.raises(InputError) as caught:
        SeriesFilter.parse(text)
    assert not lacking(caught.value, f'--filter "{text}"', *tokens)


def test_the_reason_names_the_field_and_never_the_value():
    filters = (SeriesFilter.parse("slices>=20"), SeriesFilter.parse("description=*Doe*"))
    assert reason_to_leave_out(SERIES, filters) == "excluded by --filter on description"
    assert reason_to_leave_out(SERIES, filters[:1]) == ""
