"""Findings: sizes in ml, places in LPS+ mm, ranks, and what is too small to list."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moeclip_transforms import Affine, FrameGeometry, InputError
from scipy import ndimage
from scipy.spatial.transform import Rotation
from sentences import lacking

from moeclip_med.scoring import find_findings
from moeclip_med.scoring.anomaly import low_threshold
from moeclip_med.scoring.findings import smallest_volume, voxel_to_lps


def scores_with(shape, *regions):
    scores = np.full(shape, 0.1, dtype=np.float32)
    for box, value in regions:
        scores[box] = value
    return scores


def test_ranks_findings_by_peak_score_and_labels_their_voxels(make_volume):
    first, second = np.s_[2:8, 2:8, 2:8], np.s_[12:18, 12:18, 12:18]
    scores = scores_with((20, 20, 20), (first, 0.7), (second, 0.9))

    result = find_findings(scores, make_volume(np.zeros((20, 20, 20))), threshold=0.5)

    assert [finding.peak_score for finding in result.findings] == pytest.approx([0.9, 0.7])
    assert [finding.rank for finding in result.findings] == [1, 2]
    assert (result.labels[second] == 1).all()
    assert (result.labels[first] == 2).all()
    assert np.count_nonzero(result.labels) == 2 * 6**3


def test_measures_volume_in_ml_and_place_in_lps_mm(make_volume):
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = [50, -40, 10]
    scores = scores_with((20, 20, 20), (np.s_[5:10, 6:11, 7:12], 0.8))

    (finding,) = find_findings(scores, make_volume(np.zeros((20, 20, 20)), affine), threshold=0.5).findings

    assert finding.volume_ml == pytest.approx(5**3 * 12 / 1000)
    assert finding.centre_voxel == pytest.approx((7, 8, 9))
    ras = affine @ [7, 8, 9, 1]
    assert finding.centre_lps_mm == pytest.approx((-ras[0], -ras[1], ras[2]))
    assert (finding.box_start, finding.box_stop) == ((5, 6, 7), (10, 11, 12))
    assert finding.slice_range == (7, 11)
    assert finding.mean_score == pytest.approx(0.8)


@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_the_centre_and_the_mean_are_those_of_scipy(make_volume, threshold):
    scores = np.zeros((9, 10, 11), dtype=np.float32)
    if threshold:
        scores[2:7, 3:9, 1:8] = np.random.default_rng(5).uniform(0.55, 1.0, (5, 6, 7))
        scores[2:4, 3:5, 1:3] = 0.2  # a corner of the box that does not belong to the finding
    (finding,) = find_findings(scores, make_volume(scores), threshold).findings
    inside = scores >= threshold
    expected = ndimage.center_of_mass(np.where(inside, scores if threshold else 1.0, 0.0))  # all 0: all alike
    assert finding.centre_voxel == pytest.approx(expected)
    assert finding.mean_score == pytest.approx(scores[inside].mean(dtype=np.float64))
    assert finding.voxel_count == inside.sum()


def test_a_score_equal_to_the_threshold_counts(make_volume):
    scores = scores_with((10, 10, 10), (np.s_[:, :, :5], 0.5))

    assert len(find_findings(scores, make_volume(np.zeros((10, 10, 10))), threshold=0.5).findings) == 1


def test_counts_regions_that_are_too_small_instead_of_listing_them(make_volume):
    scores = scores_with((20, 20, 20), (np.s_[0:4, 0:5, 0:5], 0.9), (np.s_[10:14, 10:14, 10:14], 0.8))

    result = find_findings(scores, make_volume(np.zeros((20, 20, 20))), threshold=0.5, min_volume_ml=0.1)

    assert [finding.volume_ml for finding in result.findings] == pytest.approx([0.1])
    assert result.too_small == 1
    assert result.labels[11, 11, 11] == 0


def test_a_finding_reaches_as_far_as_three_fifths_of_the_threshold(make_volume):
    rim, core, apart = np.s_[2:12, 2:12, 2:12], np.s_[4:9, 4:9, 4:9], np.s_[14:19, 14:19, 14:19]
    scores = scores_with((20, 20, 20), (rim, 0.31), (core, 0.7), (apart, 0.49))

    result = find_findings(scores, make_volume(np.zeros((20, 20, 20))), threshold=0.5)

    (finding,) = result.findings
    assert (result.labels[rim] == 1).all()
    assert not result.labels[apart].any()
    assert finding.volume_ml == pytest.approx(1.0)
    assert finding.mean_score == pytest.approx((125 * 0.7 + 875 * 0.31) / 1000)
    assert result.too_small == 0  # what never reaches the threshold is no region that was excluded


def test_what_lies_below_the_threshold_makes_no_region_large_enough(make_volume):
    scores = scores_with((20, 20, 20), (np.s_[2:12, 2:12, 2:12], 0.4), (np.s_[4:8, 4:8, 4:8], 0.7))

    result = find_findings(scores, make_volume(np.zeros((20, 20, 20))), threshold=0.5, min_volume_ml=0.1)

    assert result.findings == ()
    assert result.too_small == 1
    assert not result.labels.any()


def test_small_parts_that_the_lower_limit_joins_count_together(make_volume):
    parts = (np.s_[4:8, 4:8, 4:8], 0.7), (np.s_[4:8, 4:8, 12:16], 0.6)  # 64 voxels of 1 mm³ each: 0.064 ml
    volume = make_volume(np.zeros((20, 20, 20)))

    apart = find_findings(scores_with((20, 20, 20), *parts), volume, threshold=0.5, min_volume_ml=0.1)
    joined = find_findings(
        scores_with((20, 20, 20), (np.s_[4:8, 4:8, 4:16], 0.4), *parts), volume, threshold=0.5, min_volume_ml=0.1
    )

    assert (len(apart.findings), apart.too_small) == (0, 2)
    assert [finding.voxel_count for finding in joined.findings] == [4 * 4 * 12]
    assert joined.too_small == 0


def test_without_a_region_above_the_threshold_there_is_no_finding(make_volume):
    result = find_findings(scores_with((8, 8, 8)), make_volume(np.zeros((8, 8, 8))), threshold=0.5)

    assert result.findings == ()
    assert result.too_small == 0
    assert not result.labels.any()


def test_labels_go_into_the_array_that_is_given_whatever_it_held(make_volume):
    scores = scores_with((20, 20, 20), (np.s_[2:8, 2:8, 2:8], 0.7), (np.s_[12:18, 12:18, 12:18], 0.9))
    volume = make_volume(np.zeros((20, 20, 20)))
    given = np.full((20, 20, 20), 9, dtype=np.uint16).transpose(2, 0, 1)

    result = find_findings(scores, volume, threshold=0.5, into=given)

    assert result.labels is given
    np.testing.assert_array_equal(given, find_findings(scores, volume, threshold=0.5).labels)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.05, 0.6), st.permutations(range(3)))
def test_regions_are_those_of_scipy_in_any_order_of_memory(make_volume, seed, share, order):
    scores = np.random.default_rng(seed).random((9, 11, 13), dtype=np.float32)
    given_labels = np.empty([scores.shape[axis] for axis in order], dtype=np.uint16).transpose(np.argsort(order))
    threshold = 1 - share
    components, count = ndimage.label(scores >= low_threshold(threshold), np.ones((3, 3, 3)))
    peaks = ndimage.maximum(scores, components, np.arange(1, count + 1))
    listed = np.where(np.isin(components, 1 + np.flatnonzero(peaks >= threshold)), components, 0)

    found = find_findings(scores, make_volume(scores), threshold, given_labels, min_volume_ml=0).labels

    assert found is given_labels
    assert ((found > 0) == (listed > 0)).all()
    assert len(np.unique(np.stack([found.ravel(), listed.ravel()]), axis=1).T) == len(np.unique(listed))


def test_more_regions_than_labels_of_16_bits_are_counted_and_the_large_one_is_found(make_volume):
    scores = np.zeros((84, 84, 84), dtype=np.float32)
    scores[::2, ::2, ::2] = 0.6  # 74 088 regions of one voxel
    scores[60:70, 60:70, 60:70] = 0.9

    result = find_findings(scores, make_volume(np.zeros(scores.shape)), threshold=0.5)

    (finding,) = result.findings
    assert finding.peak_score == pytest.approx(0.9)
    assert result.too_small > np.iinfo(np.uint16).max
    assert result.labels.dtype == np.uint16
    assert np.count_nonzero(result.labels) == finding.voxel_count


def test_only_the_findings_with_the_highest_peaks_are_listed_where_there_are_too_many(make_volume, monkeypatch):
    monkeypatch.setattr("moeclip_med.scoring.findings.MOST_FINDINGS", 2)
    boxes = [np.s_[start : start + 6, 0:6, 0:6] for start in (0, 10, 20)]
    scores = scores_with((30, 8, 8), *zip(boxes, (0.7, 0.6, 0.8), strict=True))

    result = find_findings(scores, make_volume(np.zeros(scores.shape)), threshold=0.5)

    assert [finding.peak_score for finding in result.findings] == pytest.approx([0.8, 0.7])
    assert not result.labels[boxes[1]].any()


def test_what_overlaps_from_frame_to_frame_is_one_track(make_volume):
    boxes = [np.s_[5 + 3 * frame : 10 + 3 * frame, 5:10, frame] for frame in range(3)]
    elsewhere = np.s_[0:5, 14:19, 2]
    scores = scores_with((20, 20, 4), *[(box, 0.9) for box in boxes], (elsewhere, 0.8))
    clip = make_volume(np.zeros((3, 20, 20, 4)), has_orientation=False, is_cine=True)

    track, other = find_findings(scores, clip, threshold=0.5).findings

    assert (track.slice_range, track.voxel_count) == ((0, 2), 75)
    assert (other.slice_range, other.voxel_count) == ((2, 2), 25)


def test_frames_that_touch_at_a_corner_only_are_no_track(make_volume):
    scores = scores_with((20, 20, 2), (np.s_[0:5, 0:5, 0], 0.9), (np.s_[5:10, 5:10, 1], 0.9))
    clip = make_volume(np.zeros((3, 20, 20, 2)), has_orientation=False, is_cine=True)

    assert len(find_findings(scores, clip, threshold=0.5).findings) == 2


def test_a_track_is_listed_only_if_one_of_its_frames_is_large_enough(make_volume):
    scores = scores_with((20, 20, 10), (np.s_[5:8, 5:8, :], 0.9))
    clip = make_volume(np.zeros((3, 20, 20, 10)), has_orientation=False, is_cine=True)

    result = find_findings(scores, clip, threshold=0.5)

    assert (len(result.findings), result.too_small) == (0, 1)


def test_photographs_are_not_joined(make_volume):
    scores = scores_with((20, 20, 3), (np.s_[5:10, 5:10, :], 0.9))
    clip = make_volume(np.zeros((3, 20, 20, 3)), has_orientation=False)

    result = find_findings(scores, clip, threshold=0.5)

    assert [finding.slice_range for finding in result.findings] == [(0, 0), (1, 1), (2, 2)]
    assert all(finding.volume_ml is None and finding.centre_lps_mm is None for finding in result.findings)
    assert [finding.voxel_count for finding in result.findings] == [25, 25, 25]


def test_diagonal_neighbours_belong_together(make_volume):
    scores = scores_with((20, 20, 20), (np.s_[0:5, 0:5, 0:5], 0.9), (np.s_[5:10, 5:10, 5:10], 0.9))

    assert len(find_findings(scores, make_volume(np.zeros((20, 20, 20))), threshold=0.5).findings) == 1


@pytest.fixture
def tilted(make_volume):
    """Three slices at 0, 4 and 5 mm along a normal that is tilted against the shift of their positions."""
    frames = tuple(
        FrameGeometry(position=(10.0, 20.0 + shift, height), row_direction=(1, 0, 0), column_direction=(0, 1, 0))
        for height, shift in ((0.0, 0.0), (4.0, 2.0), (5.0, 2.5))
    )
    affine = np.diag([-1.0, -1.0, 2.5, 1.0])
    affine[:3, 3] = [-10, -20, 0]
    return make_volume(np.zeros((12, 12, 3)), affine, frame_geometry=frames, is_regular=False)


def test_irregular_volumes_place_findings_from_the_acquired_slices(tilted):
    assert voxel_to_lps(tilted, np.array([3.0, 4.0, 1.0])) == pytest.approx((13, 26, 4))
    assert voxel_to_lps(tilted, np.array([3.0, 4.0, 1.5])) == pytest.approx((13, 26.25, 4.5))


def test_irregular_volumes_measure_ml_by_the_distance_to_the_neighbouring_slices(tilted):
    scores = scores_with((12, 12, 3), (np.s_[0:10, 0:10, 1:2], 0.9))

    (finding,) = find_findings(scores, tilted, threshold=0.5).findings

    assert finding.volume_ml == pytest.approx(100 * 2.5 / 1000)


@settings(max_examples=30)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
    voxel=st.tuples(*[st.floats(0, 50)] * 3),
)
def test_voxels_are_placed_as_the_affine_says(angles, spacing, voxel):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = [5, -7, 11]

    class Regular:
        is_regular = True
        frame_geometry = ()

    Regular.affine = Affine(affine)
    ras = affine @ [*voxel, 1]
    np.testing.assert_allclose(voxel_to_lps(Regular, np.array(voxel)), [-ras[0], -ras[1], ras[2]], atol=1e-9)


def test_takes_little_more_memory_than_the_labels_it_gives(make_volume):
    scores = np.zeros((160, 160, 160), dtype=np.float32)
    scores[40:80, 40:80, 40:80] = 0.9
    volume = make_volume(scores)
    tracemalloc.start()
    try:
        found = find_findings(scores, volume, 0.5)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.labels.nbytes == scores.nbytes / 2
    assert most < scores.nbytes


@pytest.mark.parametrize(("threshold", "low"), [(0.2, 0.12), (0.5, 0.3), (0.9, 0.3)])
def test_a_higher_threshold_draws_findings_as_far(threshold, low):
    assert low_threshold(threshold) == pytest.approx(low)


@pytest.mark.parametrize("scale", [1.0, 0.05, 0.001])
def test_the_smallest_finding_follows_the_size_of_the_image(make_volume, scale):
    scores = scores_with((40, 40, 20), (np.s_[4:7, 4:7, 4:7], 0.9), (np.s_[20:22, 20:21, 10:11], 0.8))
    volume = make_volume(np.zeros((40, 40, 20)), affine=np.diag([2 * scale, 2 * scale, 4 * scale, 1.0]))
    result = find_findings(scores, volume, threshold=0.5)
    assert (len(result.findings), result.too_small) == (1, 1)
    assert len(find_findings(scores, volume, threshold=0.5, min_volume_ml=0.0).findings) == 2


def test_a_human_field_of_view_keeps_the_floor_of_a_tenth_of_a_millilitre(make_volume):
    assert smallest_volume(make_volume(np.zeros((40, 40, 40)), affine=np.diag([5.0, 5.0, 5.0, 1.0]))) == 0.1


def test_scores_of_another_grid_are_refused(make_volume):
    volume = make_volume(np.zeros((8, 8, 4), dtype=np.float32))
    with pytest.raises(InputError) as caught:
        find_findings(np.zeros((8, 8, 3), dtype=np.float32), volume, 0.5)
    assert lacking(caught.value, "(8, 8, 3)", "(8, 8, 4)") == []
