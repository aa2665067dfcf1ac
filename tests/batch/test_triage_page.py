"""The triage page in a real browser, from disk, with five thousand lines."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from browser import Browser
from PIL import Image

from moeclip_med.batch.ledger import Counts
from moeclip_med.batch.records import SeriesState, StudyState
from moeclip_med.batch.triage.lists import render_page
from moeclip_med.batch.triage.rows import TriageRow, column_names

N_DONE, N_FAILED, N_SKIPPED = 4700, 100, 200

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
)


def line(number: int, state: str, **changes) -> TriageRow:
    values = {
        "state": state, "score": None, "findings": None, "largest_ml": None, "largest_pixels": None,
        "patient": f"patient-{number:012d}", "study": f"study-{number:012d}", "series": f"series-{number:012d}",
        "modality": "MR", "kind": "mr", "format": "dicom", "columns": 256, "rows": 256, "slices": 20, "seconds": 1.0,
        "threshold": None, "is_calibrated": False, "reason": "", "notes": "", "folder": "", "report": False,
        "rule": "", "engine_note": "", "decision": "",
    }  # fmt: skip
    return TriageRow(**{**values, **changes})


def lines() -> list[TriageRow]:
    done = [
        line(number, "done", score=round(1 - number / 5000, 4), findings=number % 4, largest_ml=float(number % 50),
             threshold=0.5, folder=f"studies/{number}", report=True)
        for number in range(N_DONE)
    ]  # fmt: skip
    failed = [line(10_000 + n, "failed", reason="</script><b>not closed</b>") for n in range(N_FAILED)]
    skipped = [line(20_000 + n, "skipped", reason="a scout (localizer)", modality="CT") for n in range(N_SKIPPED)]
    return [*done, *failed, *skipped]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triage")
    noise = np.random.default_rng(0).integers(0, 255, (144, 144), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "thumbnail.webp", quality=30)
    picture = (folder / "thumbnail.webp").read_bytes()
    rows = lines()
    for row in rows:
        if row.folder:
            (folder / row.folder).mkdir(parents=True)
            (folder / row.folder / "thumbnail.webp").write_bytes(picture)
    counts = Counts(
        {**dict.fromkeys(StudyState, 0), StudyState.DONE: 5000},
        {SeriesState.DONE: N_DONE, SeriesState.FAILED: N_FAILED, SeriesState.SKIPPED: N_SKIPPED},
    )
    text = render_page(rows, counts, folder, column_names(identify=False))
    (folder / "moved").mkdir()
    (folder / "moved" / "triage.html").write_text(text, encoding="utf-8")  # away from its pictures: it holds them
    with Browser() as browser:
        started = time.perf_counter()
        browser.open((folder / "moved" / "triage.html").as_uri())
        browser.seconds = time.perf_counter() - started
        yield browser


def first_cells(page: Browser, count: int = 3) -> list[list[str]]:
    return page.run(
        "return [...document.querySelectorAll('#body tr[data-index]')]"
        f".slice(0, {count}).map(row => [...row.cells].map(cell => cell.innerText))"
    )


def shown(page: Browser) -> str:
    return page.run("return document.getElementById('count').innerText")


def click(page: Browser, selector: str) -> float:
    """Click, let the browser lay out, and return the ms that took."""
    return page.run(
        f"const start = performance.now(); document.querySelector({selector!r}).click();"
        "document.body.getBoundingClientRect(); return performance.now() - start"
    )


def search(page: Browser, words: str) -> None:
    page.run(
        f"const box = document.getElementById('search'); box.value = {words!r}; box.dispatchEvent(new Event('input'))"
    )


@pytest.mark.timed
def test_five_thousand_lines_open_and_sort_fast(page):
    assert page.seconds < 10
    assert click(page, "[data-sort=findings]") < 500
    click(page, "[data-sort=score]")


@pytest.mark.slow
def test_of_five_thousand_lines_few_are_in_the_document(page):
    assert shown(page) == "5,000 lines"
    assert page.run("return document.querySelectorAll('#body tr[data-index]').length") < 40
    assert page.run("return document.getElementById('list').scrollHeight") > 5000 * 90


def test_pictures_are_part_of_the_page(page):
    assert page.run(
        "const image = document.querySelector('#body img'); return [image.src.slice(0, 16), image.naturalWidth]"
    ) == ["data:image/webp;", 144]


def test_sorting_by_a_column_and_back(page):
    click(page, "[data-sort=findings]")
    assert [row[2] for row in first_cells(page)] == ["3", "3", "3"]
    assert page.run("return document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    click(page, "[data-sort=score]")
    click(page, "[data-sort=score]")
    assert [row[1].strip() for row in first_cells(page, 2)] == ["0.060", "0.060"]
    page.run(
        "document.getElementById('list').scrollTop = 1e9;"
        "document.getElementById('list').dispatchEvent(new Event('scroll'))"
    )
    assert page.run("return [...document.querySelectorAll('#body tr[data-index]')].at(-1).cells[1].innerText") == "–", (
        "lines without a score come last in either direction"
    )
    click(page, "[data-sort=score]")
    assert first_cells(page, 1)[0][1].strip() == "1.000"


def test_searching_and_groups(page):
    search(page, "patient-000000000042")
    assert shown(page) == "1 of 5,000 lines"
    search(page, "ct scout")
    assert shown(page) == "200 of 5,000 lines"
    search(page, "no such thing")
    assert page.run("return document.getElementById('nothing').checkVisibility()")
    search(page, "")
    click(page, "[data-show=failed]")
    assert shown(page) == "100 of 5,000 lines"
    assert first_cells(page, 1)[0][-1] == "</script><b>not closed</b>", "what a file says stays text"
    click(page, "[data-show=all]")


def test_scrolling_to_the_end_shows_the_last_line(page):
    page.run("document.getElementById('list').scrollTop = 1e9")
    time.sleep(0.3)
    assert page.run("return [...document.querySelectorAll('#body tr[data-index]')].at(-1).dataset.index") == "4999"
    page.run("document.getElementById('list').scrollTop = 0")


def test_links_lead_to_the_reports_beside_the_list(page):
    assert (
        page.run("return document.querySelector('#body td:last-child a').getAttribute('href')")
        == "studies/0/report.html"
    )


def test_nothing_is_fetched_and_the_console_is_silent(page):
    assert (
        page.run("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    )
    assert page.complaints() == []


def test_what_it_must_say_is_there(page):
    text = page.run("return document.body.innerText")
    assert "Research use only. Not a medical device." in text
    assert "The threshold (0.50) is uncalibrated" in text


def test_letters_stand_at_the_sides_of_the_picture(tmp_path):
    """Right of the patient on the left of the picture, for a volume stored in either direction."""
    import nibabel as nib
    from batch_fakes import FakeDetector
    from moeclip_transforms import read_volume

    from moeclip_med.batch.thumbnails import draw_thumbnail
    from moeclip_med.scoring import score_volume

    image = np.broadcast_to(np.linspace(100, 900, 40)[:, None, None], (40, 40, 3)).astype(np.float32)
    pictures = []
    for name, sign in (("ras", 1.0), ("las", -1.0)):
        source = nib.Nifti1Image(image if sign > 0 else image[::-1], np.diag([sign * 2, 2, 4, 1]))
        source.set_sform(source.affine, 1)
        path: Path = tmp_path / f"{name}.nii"
        nib.save(source, path)
        pictures.append(np.asarray(draw_thumbnail(score_volume(read_volume(path), FakeDetector())).convert("L")))
    assert np.array_equal(*pictures)
    left, right = pictures[0][:30, :60].mean(), pictures[0][:30, -60:].mean()
    assert left > right + 50, "values grow to the patient's right, which is on the left of the picture"
