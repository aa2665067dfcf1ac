"""A reader's review: put into effect, kept in a file, refused where it does not fit."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from moeclip_transforms.errors import InputError

from moeclip_med.scoring import AnomalyVolume, find_findings
from moeclip_med.scoring.review import Decision, FindingReview, Outline, Review, Site, apply_review
from moeclip_med.scoring.review_file import read_review, write_review

SHAPE = (30, 32, 20)
FIRST, SECOND = (slice(4, 10), slice(5, 12), slice(3, 8)), (slice(18, 24), slice(20, 26), slice(10, 15))
RUN = "ab" * 16


@pytest.fixture
def anomaly(make_volume):
    """Two findings in 4 mm voxels: the image is 100 in the first and 200 in the second."""
    image, scores = np.zeros(SHAPE), np.zeros(SHAPE, np.float32)
    image[FIRST], image[SECOND] = 100, 200
    scores[FIRST], scores[SECOND] = 0.9, 0.7
    scores[5, 6, 4], scores[19, 21, 11] = 0.95, 0.75  # the peaks
    volume = make_volume(image, np.diag([4.0, 4.0, 4.0, 1.0]))
    found = find_findings(scores, volume, 0.6)
    return AnomalyVolume(volume, scores, found.labels, found.findings, record=None)


def mask(*parts):
    made = np.zeros(SHAPE, bool)
    made[parts] = True
    return made


def at(anomaly, rank):
    return FindingReview(anomaly.findings[rank - 1].peak_voxel)


def test_a_review_that_says_nothing_changes_nothing(anomaly):
    before = anomaly.labels.copy()
    after = apply_review(anomaly, Review())
    assert after.findings == anomaly.findings
    np.testing.assert_array_equal(after.labels, before)


def test_a_rejected_finding_leaves_labels_and_totals_and_stays_on_record(anomaly):
    said = FindingReview(at(anomaly, 1).voxel, Decision.REJECTED, comment="vessel")
    second = anomaly.findings[1]
    after = apply_review(anomaly, Review(entries=(said,)))
    (kept,) = after.findings
    (rejected,) = after.rejected
    assert (kept.rank, kept.label, kept.volume_ml) == (1, 1, second.volume_ml)
    assert not after.labels[FIRST].any()
    assert set(np.unique(after.labels[SECOND])) == {1}
    assert (rejected.finding.label, rejected.finding.review) == (0, said)
    assert rejected.measures.mean == pytest.approx(100)
    assert rejected.finding.volume_ml == pytest.approx(6 * 7 * 5 * 0.064)


def test_an_edited_outline_is_measured_like_any_other(anomaly):
    outline = Outline.of(mask(slice(4, 14), slice(5, 12), slice(3, 8)))
    said = FindingReview(at(anomaly, 1).voxel, outline=outline)
    after = apply_review(anomaly, Review(entries=(said,)))
    first = after.findings[0]
    assert first.volume_ml == pytest.approx(10 * 7 * 5 * 0.064)
    assert first.key == said.voxel
    assert first.review.is_edited
    assert after.measures[0].mean == pytest.approx(60)
    assert after.measures[0].longest.mm > anomaly.measures[0].longest.mm
    assert np.count_nonzero(after.labels == first.label) == 10 * 7 * 5


def test_an_edited_outline_survives_a_threshold_that_its_finding_does_not_reach(anomaly):
    said = FindingReview(at(anomaly, 2).voxel, outline=Outline.of(mask(slice(18, 20), slice(20, 22), slice(10, 12))))
    found = find_findings(anomaly.scores, anomaly.volume, 0.8, into=anomaly.labels)
    assert len(found.findings) == 1
    after = apply_review(replace(anomaly, findings=found.findings), Review(entries=(said,)))
    assert [finding.voxel_count for finding in after.findings] == [6 * 7 * 5, 8]
    assert np.count_nonzero(after.labels == 2) == 8


def test_a_drawn_finding_is_added_and_takes_voxels_of_its_neighbour(anomaly):
    drawn = FindingReview((0, 0, 0), outline=Outline.of(mask(slice(4, 7), slice(5, 12), slice(3, 8))), is_drawn=True)
    after = apply_review(anomaly, Review(entries=(drawn,)))
    assert [finding.voxel_count for finding in after.findings] == [3 * 7 * 5, 6 * 6 * 5, 3 * 7 * 5]
    assert after.findings[2].review.is_drawn
    assert after.findings[0].box_start == (7, 5, 3)


def test_a_neighbour_that_loses_all_its_voxels_is_gone(anomaly):
    drawn = FindingReview((0, 0, 0), outline=Outline.of(mask(*FIRST)), is_drawn=True)
    after = apply_review(anomaly, Review(entries=(drawn,)))
    assert [finding.review is not None for finding in after.findings] == [False, True]
    assert sorted(np.unique(after.labels)) == [0, 1, 2]


def test_a_rejected_outline_takes_nothing_from_its_neighbours(anomaly):
    everything = Outline.of(mask(slice(None), slice(None), slice(None)))
    said = FindingReview(at(anomaly, 2).voxel, Decision.REJECTED, outline=everything)
    after = apply_review(anomaly, Review(entries=(said,)))
    assert [finding.voxel_count for finding in after.findings] == [6 * 7 * 5]
    assert after.rejected[0].finding.voxel_count == np.prod(SHAPE)


@given(arrays(bool, st.tuples(*[st.integers(1, 7)] * 3)).filter(np.any))
def test_an_outline_comes_back_bit_for_bit(inside):
    outline = Outline.of(inside)
    again = np.zeros_like(inside)
    again[outline.box()] = outline.mask()
    np.testing.assert_array_equal(again, inside)
    assert outline.fits(inside.shape)


def test_an_empty_outline_is_refused():
    with pytest.raises(InputError, match="empty"):
        Outline.of(np.zeros((3, 3, 3), bool))


def test_a_review_is_kept_and_read_again(tmp_path):
    entry = FindingReview(
        (1, 2, 3), Decision.ACCEPTED, "größer", Site("Brain", "12738006", "SCT"), Outline.of(np.ones((2, 2, 2), bool))
    )
    review = Review("A. Reader", (entry, FindingReview((4, 5, 6), Decision.REJECTED, site=Site("left ventricle"))))
    write_review(review, RUN, tmp_path)
    assert read_review(tmp_path, RUN, (9, 9, 9)) == review
    assert [path.name for path in tmp_path.iterdir()] == ["review.json"]


def test_no_file_is_an_empty_review(tmp_path):
    assert read_review(tmp_path, RUN, (9, 9, 9)) == Review()


def test_a_review_keeps_its_time_and_one_without_takes_its_file_s(tmp_path):
    path = write_review(Review("Müller", changed="2031-05-06T07:08:09+00:00"), RUN, tmp_path)
    assert read_review(tmp_path, RUN, (9, 9, 9)).changed == "2031-05-06T07:08:09+00:00"
    document = json.loads(path.read_text())
    del document["changed"]
    path.write_text(json.dumps(document))
    os.utime(path, (0, 86400))
    assert read_review(tmp_path, RUN, (9, 9, 9)).changed == "1970-01-02T00:00:00+00:00"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document | {"run_id": "other"}, "belongs to run other"),
        (lambda document: [document], "is no review"),
        (lambda document: document | {"entries": [{"voxel": [1, 2]}]}, "is no review"),
        (lambda document: document | {"entries": [{"voxel": [1, 2, 3], "decision": "maybe"}]}, "is no review"),
        (
            lambda document: (
                document
                | {"entries": [{"voxel": [1, 2, 3], "outline": {"start": [8, 8, 8], "shape": [5, 5, 5], "bits": ""}}]}
            ),
            "does not fit",
        ),
        (
            lambda document: (
                document
                | {"entries": [{"voxel": [1, 2, 3], "outline": {"start": [0, 0, 0], "shape": [2, 2, 2], "bits": "!!"}}]}
            ),
            "does not fit",
        ),
    ],
)
def test_a_damaged_or_foreign_review_is_refused(tmp_path, change, said):
    write_review(Review("", (FindingReview((1, 2, 3), Decision.ACCEPTED),)), RUN, tmp_path)
    path = tmp_path / "review.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=said):
        read_review(tmp_path, RUN, (9, 9, 9))


def test_an_entry_that_says_nothing_is_left_out():
    review = Review().put(FindingReview((1, 2, 3), Decision.ACCEPTED))
    assert review.put(FindingReview((1, 2, 3))) == Review()
    assert review.of((1, 2, 3)).decision is Decision.ACCEPTED
    assert review.of((0, 0, 0)) == FindingReview((0, 0, 0))
