"""Findings of two studies are matched by place: each is in one change, and volumes say how they grew."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moeclip_transforms import Affine

from moeclip_med.scoring.anomaly import AnomalyVolume
from moeclip_med.scoring.findings import find_findings
from moeclip_med.scoring.prior import NEAREST_MM, MatchBasis, match_findings, prior_labels

SHAPE = (40, 36, 30)
STAY = Affine(np.eye(4))


@pytest.fixture
def run_of(make_volume):
    """Return a function that makes a run whose findings are boxes."""

    def make(*boxes, affine=None):
        scores = np.zeros(SHAPE, np.float32)
        for number, (start, size) in enumerate(boxes):
            scores[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = 0.95 - 0.01 * number
        volume = make_volume(scores, affine)
        found = find_findings(scores, volume, 0.5, min_volume_ml=0.0)
        record = SimpleNamespace(settings=SimpleNamespace(threshold=0.5))
        return AnomalyVolume(volume, scores, found.labels, found.findings, record)

    return make


def compare(current, prior, to_prior=STAY):
    return match_findings(current, prior, to_prior, prior_labels(current, prior, to_prior))


def test_what_overlaps_is_the_same_and_grows_in_ml_and_percent(run_of):
    current, prior = run_of(((5, 5, 5), (6, 6, 6))), run_of(((6, 5, 5), (5, 6, 4)))
    (change,) = compare(current, prior)
    assert (change.current, change.prior, change.basis) == ((1,), (1,), MatchBasis.OVERLAP)
    assert change.volume_ml == pytest.approx(0.216)
    assert change.growth_ml == pytest.approx(0.216 - 0.120)
    assert change.growth_percent == pytest.approx(80)
    assert change.dice == pytest.approx(2 * 120 / (216 + 120))
    assert change.distance_mm == pytest.approx(np.hypot(0.5, 1.0))


def test_what_moved_a_little_is_matched_by_the_nearest_centre(run_of):
    current, prior = run_of(((5, 5, 5), (4, 4, 4))), run_of(((13, 5, 5), (4, 4, 4)), ((5, 17, 5), (4, 4, 4)))
    matched, gone = compare(current, prior)
    assert (matched.current, matched.prior, matched.basis) == ((1,), (1,), MatchBasis.NEAREST)
    assert matched.distance_mm == pytest.approx(8)
    assert (gone.current, gone.prior, gone.growth_percent) == ((), (2,), pytest.approx(-100))


def test_what_is_far_is_new_and_the_other_gone(run_of):
    shift = int(NEAREST_MM) + 3
    new, gone = compare(run_of(((2, 5, 5), (4, 4, 4))), run_of(((2 + shift, 5, 5), (4, 4, 4))))
    assert (new.current, new.prior, new.growth_percent) == ((1,), (), None)
    assert (gone.current, gone.prior) == ((), (1,))


def test_what_merged_stands_together(run_of):
    current = run_of(((5, 5, 5), (14, 4, 4)))
    prior = run_of(((5, 5, 5), (5, 4, 4)), ((13, 5, 5), (6, 4, 4)))
    (change,) = compare(current, prior)
    assert (change.current, change.prior) == ((1,), (1, 2))
    assert change.prior_volume_ml == pytest.approx((5 + 6) * 16 / 1000)


def test_places_are_compared_in_the_patient_not_in_voxels(run_of):
    move = np.eye(4)
    move[:3, 3] = (7, -4, 3)
    current = run_of(((5, 9, 5), (6, 6, 6)), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    prior = run_of(((10, 18, 10), (12, 12, 12)), affine=move)
    (change,) = compare(current, prior, Affine(move))
    assert change.basis is MatchBasis.OVERLAP
    assert change.dice > 0.9
    assert change.distance_mm == pytest.approx(np.sqrt(3) * 0.5)
    assert change.growth_percent == pytest.approx(0, abs=1e-6)


BOXES = st.lists(
    st.tuples(st.tuples(*[st.integers(0, side - 5) for side in SHAPE]), st.tuples(*[st.integers(1, 5)] * 3)), max_size=5
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BOXES, BOXES)
def test_each_finding_is_in_one_change_and_volumes_add_up(run_of, boxes, earlier):
    current, prior = run_of(*boxes), run_of(*earlier)
    changes = compare(current, prior)
    assert sorted(rank for change in changes for rank in change.current) == [one.rank for one in current.findings]
    assert sorted(rank for change in changes for rank in change.prior) == [one.rank for one in prior.findings]
    total = sum(one.volume_ml for one in current.findings) - sum(one.volume_ml for one in prior.findings)
    assert sum(change.growth_ml for change in changes) == pytest.approx(total)
    for change in changes:
        assert (change.basis is MatchBasis.OVERLAP) == (change.dice > 0)
        assert (change.basis is MatchBasis.NONE) == (not change.current or not change.prior)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BOXES)
def test_a_run_beside_itself_has_not_changed(run_of, boxes):
    run = run_of(*boxes)
    for change in compare(run, run):
        assert change.current == change.prior
        assert (change.growth_ml, change.dice, change.distance_mm) == (0, 1, 0)
