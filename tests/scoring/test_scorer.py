"""Scoring a volume: on its own grid, the same for every order and batch size, stoppable, bounded by the model alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from moeclip_transforms import ImageType, InputError, Plane, Volume
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter1d
from sentences import lacking

from moeclip_med.model.outputs import NetworkOutput
from moeclip_med.scoring import ResultArrays, load_detector, score_volume
from moeclip_med.scoring.detector import Detector
from moeclip_med.weights import ScoreScale, Threshold

SIZE = 64


@dataclass
class BrightnessEngine:
    """Stands in for the network: its map is the brightness of what it is shown, in [0, 1]."""

    name: str = "brightness"
    description: str = "brightness"
    batch_size: int = 8
    fallback_reason: str = ""
    batches: list[int] = field(default_factory=list)

    def run(self, images, *, want_routing=False):
        self.batches.append(len(images))
        maps = images.mean(dim=1)
        routing = ((maps > 0.5).to(torch.uint8),) if want_routing else None
        return NetworkOutput(maps=maps, routing=routing)


def make_detector(crop="whole", weak_kinds=None):
    metadata = SimpleNamespace(
        name="brightness",
        version="1",
        architecture=SimpleNamespace(image_size=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop=crop),
        score_scale=ScoreScale(centre=0.5, spread=0.1),
        threshold=Threshold(0.6, "test"),
        threshold_for=lambda _: Threshold(0.6, "test"),
        prompts=None,
        weak_kinds=weak_kinds or {},
    )
    return Detector(SimpleNamespace(metadata=metadata, identity_hash="0" * 64, notes=()), BrightnessEngine())


WEAK = {"mr": "weak on MR", "ct-lung": "weak on lung CT", "oct": "weak on OCT"}


@pytest.mark.parametrize(
    ("lowest", "asked", "said", "unsaid"),
    [
        (-1000.0, None, ["The lowest value is -1000, as in CT", '"ct-brain"', "weak on lung CT"], "weak on MR"),
        (-3024.0, None, ["The lowest value is -3024, as in CT"], "weak on MR"),
        (0.0, None, ["weak on MR"], "as in CT"),
        (-1000.0, ImageType.CT_LUNG, ["weak on lung CT"], "as in CT"),
        (-1000.0, ImageType.CT_BRAIN, [], "as in CT"),
        (-1000.0, ImageType.MR, ["weak on MR"], "as in CT"),
    ],
)
def test_a_ct_that_is_taken_for_mr_is_told_unless_its_kind_was_named(blob, lowest, asked, said, unsaid):
    values = np.where(blob > 0, blob, lowest).astype(np.float32)
    volume = Volume.from_array(values, np.diag([2.0, 2, 2, 1]), image_type=ImageType.MR)
    warning = score_volume(volume, make_detector(weak_kinds=WEAK), image_type=asked).record.outcome.weak_kind_warning
    assert [words for words in said if words not in warning] == []
    assert unsaid not in warning
    assert bool(warning) == bool(said)


@pytest.fixture
def blob():
    """(x, y, z) with a bright box, values 0 to 100 in a body of 20."""
    image = np.zeros((40, 48, 20), dtype=np.float32)
    image[4:36, 4:44, 2:18] = 20
    image[10:18, 20:30, 6:12] = 100
    return image


def test_the_map_lies_on_the_volumes_own_grid(make_volume, blob):
    anomaly = score_volume(make_volume(blob), make_detector(), every_slice=True)

    assert anomaly.scores.shape == blob.shape
    assert anomaly.scores.dtype == np.float32
    (finding,) = anomaly.findings
    assert finding.centre_voxel == pytest.approx((13.5, 24.5, 8.5), abs=0.6)
    np.testing.assert_array_equal(anomaly.affine.matrix, np.eye(4))
    shown = repr(anomaly)
    assert str(blob.shape) in shown
    assert "uncalibrated" in shown
    assert "findings: 1" in shown
    assert "\n" not in shown


@pytest.mark.parametrize("codes", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_the_map_follows_the_image_for_every_orientation(make_volume, blob, codes):
    affine = np.diag([*codes, 1]).astype(float)

    anomaly = score_volume(make_volume(blob, affine), make_detector("foreground-square"), every_slice=True)

    (finding,) = anomaly.findings
    assert finding.centre_voxel == pytest.approx((13.5, 24.5, 8.5), abs=0.6)


def test_order_and_batch_size_do_not_change_the_result(make_volume, blob):
    volume = make_volume(blob)
    expected = score_volume(volume, make_detector(), batch_size=20).scores

    result = score_volume(volume, make_detector(), batch_size=3, order=[9, 8, 10, 7, 99, 9]).scores

    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("plane", [Plane.AUTO, Plane.ALL])
def test_the_result_fills_the_arrays_that_are_given_batch_by_batch(make_volume, blob, plane):
    volume, seen = make_volume(blob), []
    into = ResultArrays(np.zeros(blob.shape, np.float32), np.zeros(blob.shape, np.uint16))

    def look(part):
        seen.append(
            np.array_equal(part.view.take(torch.from_numpy(into.scores)[None], part.indices)[:, 0], part.scores)
        )

    anomaly = score_volume(volume, make_detector(), plane=plane, into=into, on_slices=look)

    assert anomaly.scores is into.scores
    assert anomaly.labels is into.labels
    assert all(seen)
    expected = score_volume(volume, make_detector(), plane=plane)
    np.testing.assert_array_equal(into.scores, expected.scores)
    np.testing.assert_array_equal(into.labels, expected.labels)


def test_named_slices_are_scored_first_and_each_slice_once(make_volume, blob):
    seen = []
    score_volume(
        make_volume(blob),
        make_detector(),
        batch_size=4,
        order=[9, 8],
        through_plane_mm=0,
        on_slices=lambda part: seen.extend(part.indices),
    )

    assert seen[:2] == [9, 8]
    assert sorted(seen) == list(range(20))


def test_progress_counts_to_the_total(make_volume, blob):
    progress = []
    score_volume(
        make_volume(blob),
        make_detector(),
        plane=Plane.ALL,
        batch_size=16,
        on_slices=lambda part: progress.append((part.done, part.total)),
    )

    to_score = 14 + 18 + 8  # of 40, 48 and 20 slices of 1 mm each third from both ends
    assert progress[-1] == (to_score, to_score)
    assert progress == sorted(progress)


def test_batches_given_to_on_slices_are_what_the_result_holds(make_volume, blob):
    live = np.zeros(blob.shape, dtype=np.float32)

    anomaly = score_volume(
        make_volume(blob),
        make_detector(),
        plane=Plane.ALL,
        on_slices=lambda part: part.view.put(part.scores, part.indices, into=live),
    )

    np.testing.assert_allclose(live, anomaly.scores, atol=1e-6)


def test_three_planes_are_averaged_before_the_score_scale(make_volume, blob):
    volume = make_volume(blob)
    single = [score_volume(volume, make_detector(), plane=p, keep_raw=True).raw for p in list(Plane)[1:4]]

    fused = score_volume(volume, make_detector(), plane=Plane.ALL, keep_raw=True)

    np.testing.assert_allclose(fused.raw, np.mean(single, axis=0), atol=1e-5)
    assert fused.planes == ("axial", "coronal", "sagittal")


@pytest.mark.parametrize(("every_slice", "batches", "scored", "until"), [(True, 2, 8, 8), (False, 1, 4, 10)])
def test_stopping_keeps_what_was_scored_and_says_where(make_volume, blob, every_slice, batches, scored, until):
    answers = iter([False] * batches)

    anomaly = score_volume(
        make_volume(blob),
        make_detector(),
        batch_size=4,
        every_slice=every_slice,
        should_stop=lambda: next(answers, True),
    )

    assert anomaly.scored is not None
    assert anomaly.scored[..., :until].all()
    assert not anomaly.scored[..., until:].any()
    assert (anomaly.scores[..., until:] == 0).all()
    assert anomaly.scores[10:18, 20:30, until - 1].min() > 0
    assert (anomaly.record.outcome.slices_scored, anomaly.record.outcome.slices_total) == (scored, 20)


def test_of_thin_slices_some_are_scored_and_the_filter_gives_all_their_scores(make_volume, blob):
    volume, detector = make_volume(blob), make_detector()

    anomaly = score_volume(volume, detector, keep_raw=True, keep_routing=True)

    seen = [0, 3, 6, 9, 10, 13, 16, 19]
    assert sum(detector.engine.batches) == len(seen)
    assert (anomaly.record.outcome.slices_scored, anomaly.record.outcome.slices_total) == (len(seen), 20)
    assert anomaly.scored is None
    each = score_volume(volume, detector, keep_raw=True, keep_routing=True, through_plane_mm=0)
    between = interp1d(seen, each.raw[..., seen])(np.arange(20)).astype(np.float32)
    expected = gaussian_filter1d(between, 3.0, axis=2, truncate=3.0, mode="constant")
    expected /= gaussian_filter1d(np.ones(20), 3.0, truncate=3.0, mode="constant")
    np.testing.assert_allclose(anomaly.raw, expected, atol=1e-5)
    nearest = [0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 10, 10, 13, 13, 13, 16, 16, 16, 19, 19]
    np.testing.assert_array_equal(anomaly.routing, each.routing[..., nearest])


def test_the_slice_on_screen_is_shown_at_once_though_its_neighbour_is_scored(make_volume, blob):
    parts = []
    score_volume(make_volume(blob), make_detector(), batch_size=1, order=[10], on_slices=parts.append)

    assert parts[0].indices == (10, 11)
    assert parts[0].n_provisional == 2
    final = [index for part in parts for index in part.indices[part.n_provisional :]]
    assert sorted(final) == list(range(20))


def test_two_volumes_are_comparable_and_a_blank_one_scores_low(make_volume, blob):
    blank = score_volume(make_volume(np.full(blob.shape, 37.0)), make_detector())
    lesion = score_volume(make_volume(blob), make_detector())

    assert blank.peak_score < 0.01
    assert blank.findings == ()
    assert lesion.peak_score > 0.8


def test_scores_are_an_order_preserving_function_of_the_raw_map(make_volume, blob):
    anomaly = score_volume(make_volume(blob), make_detector(), keep_raw=True)

    np.testing.assert_allclose(anomaly.scores, 1 / (1 + np.exp(-(anomaly.raw - 0.5) / 0.1)), atol=1e-6)


def test_padding_scores_zero(make_volume, blob):
    padding = np.zeros(blob.shape, dtype=bool)
    padding[:, :3] = True

    anomaly = score_volume(make_volume(blob, padding_mask=padding), make_detector())

    assert (anomaly.scores[padding] == 0).all()


def test_routing_is_a_volume_of_experts(make_volume, blob):
    anomaly = score_volume(make_volume(blob), make_detector(), keep_routing=True)

    assert anomaly.routing.shape == (1, *blob.shape)
    assert anomaly.routing.dtype == np.uint8
    assert anomaly.routing[0, 14, 25, 9] == 2
    assert anomaly.routing[0, 0, 0, 0] == 1


def test_outside_the_frame_no_expert_took_a_patch(make_volume, blob):
    cropped = score_volume(make_volume(blob), make_detector("foreground-square"), keep_routing=True)

    assert set(np.unique(cropped.routing)) == {0, 1, 2}


def test_nan_and_infinity_are_not_passed_on(make_volume, blob):
    blob[12, 25, 8], blob[0, 0, 0] = np.nan, np.inf

    assert np.isfinite(score_volume(make_volume(blob), make_detector()).scores).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(make_volume, blob, value):
    class Overflowing(BrightnessEngine):
        def run(self, images, *, want_routing=False):
            found = super().run(images, want_routing=want_routing)
            found.maps[-1, 3, 4] = value
            return found

    detector = make_detector()
    detector.engine = Overflowing()
    with pytest.raises(InputError, match="holds NaN or infinity"):
        score_volume(make_volume(blob), detector)


def test_a_user_threshold_changes_findings_not_scores(make_volume, blob):
    volume = make_volume(blob)
    strict = score_volume(volume, make_detector(), threshold=0.999)
    loose = score_volume(volume, make_detector())

    np.testing.assert_array_equal(strict.scores, loose.scores)
    assert strict.findings == ()
    assert len(loose.findings) == 1
    assert strict.record.settings.threshold_source == "set by the user"


def test_a_plane_that_does_not_exist_is_refused(make_volume, blob):
    volume = make_volume(blob, is_regular=False)

    with pytest.raises(InputError, match='no coronal plane; use the plane "auto"'):
        score_volume(volume, make_detector(), plane=Plane.CORONAL)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"plane": "diagonal"}, ("diagonal", "axial")),
        ({"image_type": "xray"}, ("xray", "ct-brain")),
        ({"threshold": 2.0}, ("2", "0 to 1")),
        ({"threshold": float("nan")}, ("nan", "0 to 1")),
        ({"batch_size": 0}, ("0", "1 or more")),
        ({"through_plane_mm": -1.0}, ("through_plane_mm", "-1")),
        ({"min_volume_ml": float("inf")}, ("min_volume_ml", "inf")),
    ],
)
def test_a_choice_that_cannot_be_is_refused(make_volume, blob, choice, words):
    with pytest.raises(InputError) as caught:
        score_volume(make_volume(blob), make_detector(), **choice)
    assert lacking(caught.value, *words) == []


def test_planes_and_image_types_may_be_named_by_their_words(make_volume, blob):
    named = score_volume(make_volume(blob), make_detector(), plane="coronal", image_type="mr")
    chosen = score_volume(make_volume(blob), make_detector(), plane=Plane.CORONAL, image_type=ImageType.MR)
    np.testing.assert_array_equal(named.scores, chosen.scores)
    assert named.record.settings == chosen.record.settings


@pytest.mark.parametrize("value", [np.zeros((4, 4, 4)), "brain.nii.gz"])
def test_what_is_no_volume_is_told_how_to_become_one(value):
    with pytest.raises(TypeError, match=r"from_array"):
        score_volume(value, make_detector())


def test_a_name_is_no_detector(make_volume, blob):
    with pytest.raises(TypeError, match="load_detector"):
        score_volume(make_volume(blob), "lite")


def test_a_process_that_was_forked_after_a_model_was_loaded_is_refused(make_volume, blob, monkeypatch):
    monkeypatch.setattr("moeclip_med.engines.forked._first", [os.getpid() + 1])
    with pytest.raises(RuntimeError, match="spawn"):
        score_volume(make_volume(blob), make_detector())
    with pytest.raises(RuntimeError, match="spawn"):
        load_detector("lite")
