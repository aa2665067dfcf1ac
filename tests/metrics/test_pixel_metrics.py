"""Streaming pixel metrics against scikit-learn, torchmetrics, a direct AUPRO, and their own error bounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from moeclip_med.metrics.binning import Binning
from moeclip_med.metrics.curves import measure
from moeclip_med.metrics.histogram import COARSE_BINS, PixelCounts, PixelHistogram

UNIT = Binning(centre=0.0, spread=1.0)


def simulated(
    seed: int, *, images: int = 6, side: int = 80, ties: bool = False, scale: float = 1.0, shift: float = 0.0
):
    rng = np.random.default_rng(seed)
    masks = np.zeros((images, side, side), dtype=bool)
    for mask in masks[1:]:
        for size in (4, 17):
            row, column = rng.integers(0, side - size, 2)
            mask[row : row + size, column : column + size] = True
    raw = rng.normal(size=masks.shape) + masks * rng.exponential(2.0, size=masks.shape)
    if ties:
        raw = np.round(raw, 1)
    return (raw * scale + shift).astype(np.float32), masks


def histogram_of(raw, masks, binning=UNIT):
    histogram = PixelHistogram(binning)
    for one, mask in zip(raw, masks, strict=True):
        histogram.add(one, mask)
    return histogram


def coarser(counts, bins):
    merged = (
        values.reshape(*values.shape[:-1], bins, -1).sum(axis=-1)
        for values in (counts.normal, counts.abnormal, counts.overlap)
    )
    return PixelCounts(*merged, counts.regions)


def sklearn_f1_max(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    return np.max(2 * precision * recall / np.maximum(precision + recall, 1e-30))


def direct_aupro(raw, masks, limit=0.3):
    """The definition, threshold by threshold: Bergmann et al., CVPR 2019, section 4."""
    thresholds = np.unique(raw)[::-1]
    regions = []
    for one, mask in zip(raw, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [np.sort(one[labels == label]) for label in range(1, count + 1)]
    normal = np.sort(raw[~masks])
    shares = [(len(part) - np.searchsorted(part, thresholds)) / len(part) for part in (normal, *regions)]
    rate = np.concatenate([[0.0], shares[0]])
    overlap = np.concatenate([[0.0], np.mean(shares[1:], axis=0)])
    end = np.interp(limit, rate, overlap)
    inside = rate <= limit
    return np.trapezoid([*overlap[inside], end], [*rate[inside], limit]) / limit


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 0.5), (300.0, -4000.0)])
def test_agrees_with_scikit_learn_and_torchmetrics(ties, scale, shift):
    raw, masks = simulated(1, ties=ties, scale=scale, shift=shift)
    metrics = measure(histogram_of(raw, masks, Binning(shift, scale)).counts)
    scores, labels = raw.ravel(), masks.ravel()
    assert metrics["auroc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
    assert metrics["ap"].value == pytest.approx(average_precision_score(labels, scores), abs=1e-4)
    assert metrics["f1max"].value == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-4)
    # torchmetrics passes scores outside [0, 1] through a sigmoid, which would round: ranks keep the order exactly.
    ranks = torch.from_numpy(np.unique(scores, return_inverse=True)[1] / len(scores))
    truth = torch.from_numpy(labels.astype(int))
    assert metrics["auroc"].value == pytest.approx(float(binary_auroc(ranks, truth)), abs=1e-4)
    assert metrics["ap"].value == pytest.approx(float(binary_average_precision(ranks, truth)), abs=1e-4)


@pytest.mark.parametrize("ties", [False, True])
def test_aupro_agrees_with_its_definition(ties):
    raw, masks = simulated(2, images=4, side=48, ties=ties)
    metric = measure(histogram_of(raw, masks).counts)["aupro"]
    assert metric.value == pytest.approx(direct_aupro(raw, masks), abs=1e-4)


def test_aupro_of_a_perfect_and_of_an_inverted_map():
    _, masks = simulated(3)
    assert measure(histogram_of(masks.astype(np.float32), masks).counts)["aupro"].value == pytest.approx(1.0)
    # All regions lie below every normal pixel: nothing is found before 30 % of the normal pixels are. The ranks of
    # normal pixels are spread, so that the curve is not a single step.
    spread = np.linspace(1, 2, masks.size, dtype=np.float32).reshape(masks.shape)
    assert measure(histogram_of(np.where(masks, -spread, spread), masks).counts)["aupro"].value == 0.0


def test_regions_touching_at_a_corner_are_one():
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[1, 1] = True
    assert histogram_of(np.zeros((1, 4, 4), np.float32), mask[None]).counts.regions == 1


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    coarse=st.sampled_from([8, 64, 1024]),
    spread=st.sampled_from([1e-2, 1.0, 50.0]),
)
def test_the_exact_value_lies_within_the_error_bound(seed, coarse, spread):
    raw, masks = simulated(seed, images=3, side=32)
    metrics = measure(coarser(histogram_of(raw, masks, Binning(0.0, spread)).counts, coarse))
    scores, labels = raw.ravel(), masks.ravel()
    exact = {
        "auroc": roc_auc_score(labels, scores),
        "ap": average_precision_score(labels, scores),
        "f1max": sklearn_f1_max(labels, scores),
        "aupro": direct_aupro(raw, masks),
    }
    for name, value in exact.items():
        assert abs(metrics[name].value - value) <= metrics[name].error_bound + 1e-9, name


def test_coarse_bins_have_a_visible_error_bound():
    raw, masks = simulated(4)
    fine, coarse = (measure(coarser(histogram_of(raw, masks).counts, bins))["ap"] for bins in (1 << 17, 64))
    assert fine.error_bound < 1e-3
    assert coarse.error_bound > 1e-2


@given(
    hnp.arrays(np.float32, st.integers(2, 50), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.floats(-100, 100),
    st.floats(1e-3, 1e3),
)
def test_binning_never_changes_the_order_of_scores(scores, centre, spread):
    ordered = np.sort(scores)
    bins = Binning(centre, spread).index(ordered)
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < UNIT.bins


def test_binning_keeps_neighbouring_floats_in_order():
    ascending = np.cumsum(np.full(200_000, np.float32(1e-7)), dtype=np.float32) + np.float32(1.7)
    assert (np.diff(Binning(0.0, 1.0).index(np.sort(ascending))) >= 0).all()


def test_edges_belong_to_their_bins():
    binning = Binning(6.0, 0.2)
    edges = binning.lower_edges(COARSE_BINS)[1:]
    step = binning.bins // COARSE_BINS
    above = binning.index(edges + 1e-3 * np.abs(edges - 6.0) + 1e-4) // step
    assert np.abs(above - np.arange(1, COARSE_BINS)).max() <= 1


@pytest.mark.parametrize("spread", [0.0, -1.0, float("nan"), float("inf")])
def test_a_binning_without_scale_is_refused(spread):
    with pytest.raises(ValueError, match="a spread above 0"):
        Binning(0.0, spread)


def test_small_and_large_maps_count_the_same():
    raw, masks = simulated(5, images=2, side=400)
    one = histogram_of(raw, masks).counts
    pieces = histogram_of(raw.reshape(-1, 40, 400), masks.reshape(-1, 40, 400)).counts
    np.testing.assert_array_equal(one.normal, pieces.normal)
    np.testing.assert_array_equal(one.abnormal, pieces.abnormal)
    assert one.pixels == raw.size


def test_coarse_counts_of_maps_add_up_to_the_whole():
    raw, masks = simulated(6, images=3, side=300)
    histogram = PixelHistogram(UNIT)
    total = PixelCounts.zeros(COARSE_BINS)
    for one, mask in zip(raw, masks, strict=True):
        total += histogram.add(one, mask)
    whole = coarser(histogram.counts, COARSE_BINS)
    np.testing.assert_array_equal(total.normal, whole.normal)
    np.testing.assert_array_equal(total.abnormal, whole.abnormal)
    np.testing.assert_allclose(total.overlap, whole.overlap)
    assert total.regions == whole.regions


def test_only_pixels_inside_count():
    raw, masks = simulated(7, images=2)
    inside = np.random.default_rng(0).random(masks.shape) < 0.6
    histogram = PixelHistogram(UNIT)
    for one, mask, kept in zip(raw, masks, inside, strict=True):
        histogram.add(one, mask, inside=kept)
    assert measure(histogram.counts)["auroc"].value == pytest.approx(
        roc_auc_score(masks[inside], raw[inside]), abs=1e-4
    )


def test_a_region_that_the_foreground_cuts_stays_one():
    mask = np.zeros((6, 9), dtype=bool)
    mask[2, 1:8] = True
    mask[5, 8] = True
    inside = np.ones_like(mask)
    inside[:, 3:5] = False
    inside[5] = False
    histogram = PixelHistogram(UNIT)
    histogram.add(np.zeros(mask.shape, np.float32), mask, inside=inside)
    counts = histogram.counts
    assert counts.regions == 1  # the row, cut in two; the single pixel lies outside
    assert counts.abnormal.sum() == 5
    assert counts.overlap.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(("mask", "reason"), [(False, "no abnormal pixels"), (True, "no normal pixels")])
def test_one_sided_sets_are_undefined_with_a_reason(mask, reason):
    counts = histogram_of(np.zeros((1, 8, 8), np.float32), np.full((1, 8, 8), mask)).counts
    for metric in measure(counts).values():
        assert metric.value is None
        assert metric.reason == reason


def test_roc_of_the_counts_matches_scikit_learn_at_every_distinct_score():
    from moeclip_med.metrics.points import roc_points

    raw, masks = simulated(8, images=2, side=24, ties=True)
    rate, sensitivity = roc_points(histogram_of(raw, masks).counts, limit=10**6)
    expected_rate, expected_sensitivity, _ = roc_curve(masks.ravel(), raw.ravel(), drop_intermediate=False)
    np.testing.assert_allclose(rate, expected_rate, atol=1e-12)
    np.testing.assert_allclose(sensitivity, expected_sensitivity, atol=1e-12)
