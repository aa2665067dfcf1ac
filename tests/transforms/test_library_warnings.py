"""What a reader does about warnings of libraries holds in its own thread alone."""

from __future__ import annotations

import threading
import warnings

import numpy as np
from moeclip_transforms import isolation, read_volume
from moeclip_transforms.library_warnings import quietly, warnings_raised
from PIL import Image


def test_warnings_are_raised_in_one_thread_and_ignored_in_another():
    told: dict[str, object] = {}
    both_inside = threading.Barrier(2, timeout=10)

    def warn_within(name, context):
        with context:
            both_inside.wait()
            try:
                warnings.warn(name, UserWarning, stacklevel=1)
            except UserWarning as error:
                told[name] = str(error)
            both_inside.wait()

    threads = [threading.Thread(target=warn_within, args=item) for item in (("a", quietly()), ("b", warnings_raised()))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {"b": "b"}
    with warnings_raised(), quietly():
        warnings.warn("the inner one counts", UserWarning, stacklevel=1)


def test_while_a_picture_is_opened_other_threads_are_heard(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "image.png")
    opened, inside, go_on = Image.open, threading.Event(), threading.Event()

    def slowly(*arguments, **options):
        inside.set()
        go_on.wait(10)
        return opened(*arguments, **options)

    monkeypatch.setattr(isolation, "_is_expendable", True)  # this process decodes
    monkeypatch.setattr(Image, "open", slowly)
    thread = threading.Thread(target=read_volume, args=(tmp_path / "image.png",))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        thread.start()
        assert inside.wait(10)
        warnings.warn("of another thread", UserWarning, stacklevel=1)
        go_on.set()
        thread.join()
    assert [str(warning.message) for warning in heard] == ["of another thread"]
