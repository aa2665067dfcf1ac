from moeclip_med.results.words import count_words


def test_findings_are_counted_in_words():
    assert [count_words(count) for count in (0, 1, 2)] == ["no finding", "1 finding", "2 findings"]
