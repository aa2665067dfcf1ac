"""What a library complained about, as a user reads it."""

import struct

import numpy as np
import pytest
from moeclip_transforms.isolation import call_isolated
from moeclip_transforms.naming import reason

CONTRADICTS = "its parts contradict each other or are cut off"


def told(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001  whatever it is
        return reason(error)
    raise AssertionError


def unpack_two(parts):
    first, second = parts
    return first, second


def complain(words):
    raise ValueError(words)


@pytest.mark.parametrize(
    ("function", "argument", "expected"),
    [
        (unpack_two, [1], CONTRADICTS), (int, "SMITH", CONTRADICTS), (np.zeros(3).reshape, (2, 2), CONTRADICTS),
        ({}.__getitem__, "SMITH", CONTRADICTS), (struct.Struct("<I").unpack, b"", CONTRADICTS),
        (b"\xff".decode, "utf-8", "a text in it is in another encoding than it should be"),
        (complain, "Unsupported version 9.", "Unsupported version 9"),
        (complain, "All decoders failed:\n  one: no\n  other: Truncated File Read", "other: Truncated File Read"),
        (complain, "File name 'SMITH' and header b\"SMITH\" don't agree", "File name … and header … don't agree"),
        (open, "/nowhere/SMITH", "No such file or directory"),
    ],
)  # fmt: skip
def test_words_about_code_become_words_about_the_file(function, argument, expected):
    assert told(function, argument) == expected


def test_words_about_code_are_known_from_another_process_too():
    assert told(lambda: call_isolated(int, "SMITH", what="")) == CONTRADICTS
