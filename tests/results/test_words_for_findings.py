from types import SimpleNamespace

import pytest

from moeclip_med.results.words import count_words, size_words


def test_findings_are_counted_in_words():
    assert [count_words(count) for count in (0, 1, 2)] == ["no finding", "1 finding", "2 findings"]


@pytest.mark.parametrize(
    ("ml", "words"),
    [(27.41, "27.4 ml"), (0.25, "0.25 ml"), (0.0034, "3.4 mm³"), (2.7e-6, "0.0027 mm³"), (None, "9 pixels")],
)
def test_sizes_keep_their_digits_however_small(ml, words):
    assert size_words(SimpleNamespace(volume_ml=ml, voxel_count=9)) == words
