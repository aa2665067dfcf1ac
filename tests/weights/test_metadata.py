"""Metadata: the meaning of scores, and the way to JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms.errors import InputError

from moeclip_med.model.named_architectures import lite_architecture, paper_architecture
from moeclip_med.model.prompts import Prompts
from moeclip_med.weights import ModelMetadata, ScoreScale, Threshold, TrainingData
from moeclip_med.weights.metadata import describe_initialization, uncalibrated_scale
from moeclip_med.weights.store import read_metadata, write_metadata


@given(st.floats(-50, 50), st.floats(0.01, 20), st.floats(0.001, 0.999))
def test_score_and_raw_are_inverse(centre, spread, score):
    scale = ScoreScale(centre, spread)
    raw = np.array([scale.raw(score)], dtype=np.float64)
    assert scale.score(raw.astype(np.float32))[0] == pytest.approx(score, abs=1e-3 + 1e-5 * abs(centre) / spread)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=20))
def test_scores_keep_the_order_and_stay_between_0_and_1(values):
    raw = np.sort(np.array(values, dtype=np.float32))
    scores = ScoreScale(6.0, 2.0).score(raw)
    assert scores.dtype == np.float32
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_score_follows_the_logistic_function():
    raw = np.linspace(-3, 9, 50, dtype=np.float32)
    expected = 1 / (1 + np.exp(-(raw.astype(np.float64) - 2) / 1.5))
    scores = ScoreScale(2.0, 1.5).score(raw)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_the_ends_of_the_scale_and_beyond():
    scale = ScoreScale(2.0, 1.5)
    assert scale.raw(0) == -math.inf
    assert scale.raw(1) == math.inf
    assert scale.raw(0.5) == 2.0
    with pytest.raises(InputError, match=r"score 1.5 lies outside 0 to 1\."):
        scale.raw(1.5)
    with pytest.raises(InputError, match="centre 0, spread 0; expected finite numbers"):
        ScoreScale(0, 0)


def test_the_uncalibrated_scale_is_the_softmax_of_the_mean_logits():
    scale = uncalibrated_scale(paper_architecture())
    assert (scale.centre, scale.spread, scale.source) == (6.0, 6.0, "uncalibrated")
    differences = np.random.default_rng(0).normal(size=12)
    raw = ((differences + 1) / 2).sum()
    expected = 1 / (1 + np.exp(-differences.mean()))
    assert scale.score(np.array([raw], dtype=np.float32))[0] == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def metadata():
    architecture = lite_architecture()
    return ModelMetadata(
        name="lite",
        version="1.0",
        architecture=architecture,
        score_scale=ScoreScale(4.5, 2.0, "99th percentile of held-out normal crops"),
        threshold=Threshold(0.5, "99.5th percentile of held-out normal industrial crops"),
        licence="Apache-2.0",
        prompts=Prompts("scan", abnormal=("a lesion",)),
        training_data=(TrainingData("Magnetic tiles", "CC BY 4.0", "https://example.org", 952),),
        training={"steps": "650"},
        initialization=describe_initialization(architecture),
        weak_kinds={"endoscopy": "glints and folds look abnormal to it"},
    )


def test_metadata_survives_the_way_to_a_file_and_back(metadata, tmp_path):
    write_metadata(tmp_path, metadata)
    assert read_metadata(tmp_path) == metadata
    assert not list(tmp_path.glob("*.part"))


def test_missing_keys_are_named(metadata):
    data = metadata.to_json()
    del data["licence"]
    with pytest.raises(InputError, match=r"here: .*missing .*`licence`; "):
        ModelMetadata.from_json(data, "here")


def test_the_initialization_says_what_lets_every_expert_learn(metadata):
    assert metadata.initialization["router"] == "normal, standard deviation 0.02"
    assert metadata.initialization["experts.up (B)"] == "normal, standard deviation 0.02"
    json.dumps(metadata.to_json())


def test_calibration_changes_only_the_meaning_of_scores(metadata):
    scale, threshold = ScoreScale(1.0, 1.0, "calibrated"), Threshold(0.7, "50 normal volumes", is_calibrated=True)
    changed = metadata.calibrated(scale, threshold)
    assert replace(changed, score_scale=metadata.score_scale, threshold=metadata.threshold) == metadata


def test_a_volume_of_many_slices_has_a_threshold_of_its_own(metadata):
    metadata = replace(metadata, volume_threshold=Threshold(0.8, "normal stacks"))
    assert metadata.threshold_for(1) == metadata.threshold
    assert metadata.threshold_for(2).value == 0.8
    calibrated = metadata.calibrated(metadata.score_scale, Threshold(0.6, "40 healthy volumes", is_calibrated=True))
    assert calibrated.threshold_for(100).value == 0.6
    assert ModelMetadata.from_json(metadata.to_json()) == metadata
