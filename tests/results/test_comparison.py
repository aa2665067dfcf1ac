"""`comparison.csv`: one line for each change, and a sentence where it cannot be written."""

import csv

import numpy as np
import pytest
from moeclip_transforms import Affine
from moeclip_transforms.errors import InputError

from moeclip_med.results.comparison import COMPARISON_COLUMNS, write_comparison
from moeclip_med.scoring.prior import FindingChange, MatchBasis
from moeclip_med.scoring.registration import RigidFit

CHANGES = (
    FindingChange((1,), (1, 2), MatchBasis.OVERLAP, 3.0, 2.0, 0.8, 1.5),
    FindingChange((2,), (), MatchBasis.NONE, 1.0, 0.0),
    FindingChange((), (3,), MatchBasis.NONE, 0.0, 0.5),
)
FIT = RigidFit(Affine(np.eye(4)), True, 4.2, 3.0, 0.9, 0.95, 1.4)


def test_each_change_is_a_line_with_growth_and_fit(tmp_path):
    write_comparison(CHANGES, FIT, tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        grown, new, gone = csv.DictReader(file)
    assert tuple(grown) == COMPARISON_COLUMNS
    assert (grown["prior_findings"], grown["growth_ml"], grown["growth_percent"]) == ("1+2", "1.0", "50.0")
    assert (new["matched_by"], new["growth_percent"], new["distance_mm"]) == ("none", "", "")
    assert (gone["findings"], gone["growth_percent"]) == ("", "-100.0")
    assert (grown["shift_mm"], grown["correlation"], grown["is_registered"]) == ("4.2", "0.95", "true")


def test_a_file_of_an_earlier_prior_goes_with_it(tmp_path):
    write_comparison(CHANGES, FIT, tmp_path)
    write_comparison((), None, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        write_comparison(CHANGES, FIT, tmp_path / "missing")
