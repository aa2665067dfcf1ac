"""The report: JSON of the agreed shape, Markdown, CSV and a page without file names."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.benchmark.compare import compare
from moeclip_med.benchmark.compare import to_markdown as comparison_text
from moeclip_med.benchmark.datasets.folder import read_folder
from moeclip_med.benchmark.datasets.locating import read_set
from moeclip_med.benchmark.protocol import Protocol
from moeclip_med.benchmark.published import published_image, published_pixel
from moeclip_med.benchmark.report import notation
from moeclip_med.benchmark.report.case_pictures import draw_cases
from moeclip_med.benchmark.report.report_files import write_report
from moeclip_med.benchmark.run import BenchmarkSettings, run_benchmark, set_folder_name
from moeclip_med.benchmark.systems import baseline_systems


@pytest.fixture(scope="module")
def reported(write_patients, save, make_detector, tmp_path_factory):
    """Run on own patients and on a set of the paper without normal images, and write every file."""
    tmp_path = tmp_path_factory.mktemp("reported")
    patient_folder = write_patients(tmp_path / "own")
    rng = np.random.default_rng(7)
    for number in range(2):
        save(tmp_path / "colon" / "images" / f"{number}.png", rng.integers(0, 255, (40, 40, 3)))
        mask = np.zeros((40, 40))
        mask[4:20, 4:20] = 255
        save(tmp_path / "colon" / "masks" / f"{number}.png", mask)
    datasets = [read_folder("own data", patient_folder), read_set("ColonDB", tmp_path / "colon")]
    detector = make_detector()
    result = run_benchmark(datasets, detector, baseline_systems(), BenchmarkSettings(tmp_path / "out"))
    pictures = {one.name: draw_cases(one, data, detector) for one, data in zip(result.sets, datasets, strict=True)}
    names = {data.name: set_folder_name(data.name) for data in datasets}
    write_report(result, tmp_path / "out", pictures, names)
    return tmp_path / "out"


def test_json_has_the_agreed_shape(reported):
    text = (reported / "benchmark.json").read_text(encoding="utf-8")
    content = json.loads(text)["datasets"]
    own = content["own data"]
    for figures in (own, own["baselines"]["brightness"], own["baselines"]["local_contrast"]):
        assert all(0 <= figures["pixel"][name] <= 1 for name in ("auroc", "ap", "f1max", "aupro"))
        assert all(0 <= figures["image"][name] <= 1 for name in ("auroc", "ap", "f1max"))
    assert own["counts"] == {"cases": 60, "abnormal": 36, "units": 12, "units_are": "patients"}
    colon = content["ColonDB"]
    assert colon["protocol"] == "paper"
    assert colon["image"]["auroc"] is None
    assert colon["image"]["reasons"]["auroc"] == "no normal images"
    assert colon["published"]["pixel"]["MoECLIP"] == {"auroc": 0.854, "ap": 0.348}
    assert "NaN" not in text


def test_reports_name_no_file_and_no_patient(reported):
    for name in ("benchmark.html", "benchmark.md", "benchmark.csv", "benchmark.json"):
        text = (reported / name).read_text(encoding="utf-8")
        assert "patient 00" not in text, name
        assert "000.png" not in text, name


def test_cases_are_listed_by_name_in_a_file_of_their_own(reported):
    path = reported / "cases" / f"{set_folder_name('own data')}.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert len(rows) == 60
    assert rows[0]["case"] == "patient 00/000.png"
    assert sum(row["is_abnormal"] == "True" for row in rows) == 36
    assert all(bool(row["pixel_ap"]) == (row["is_abnormal"] == "True") for row in rows)


def test_page_is_self_contained_and_complete(reported):
    page = (reported / "benchmark.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r"http-equiv", "", page)
    for wanted in ("Pixel ROC", "Image ROC", "Scores of images", "Found worst", "expert 2", "Bayes-PFL", "0000000000"):
        assert wanted in page, wanted
    assert page.count("data:image/jpeg") >= 18
    assert "Research use only" in page


def test_markdown_says_what_beats_the_model_and_why_figures_are_missing(reported):
    text = (reported / "benchmark.md").read_text(encoding="utf-8")
    assert "- image AUROC, image AP, image F1max: no normal images" in text
    assert "| **blurred-brightness** |" in text
    assert "| MoECLIP (published) | 85.4 | 34.8 |" in text
    assert "- Park et al., MoECLIP, CVPR 2026, arXiv 2603.03101" in text
    assert "12 images have no mask beside them and count as normal." in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(4176.0, "pixels", "4176"), (12.34, "ml", "12.3"), (-1234.5, "pixels", "-1234"), (0.98, "%", "98.0")],
)
def test_sizes_are_written_without_powers_of_ten(value, unit, text):
    assert notation.number(value, unit) == text


def test_published_figures_are_the_papers():
    assert list(published_pixel("Brain MRI")) == [
        "WinCLIP",
        "April-GAN",
        "AnomalyCLIP",
        "AdaCLIP",
        "AA-CLIP",
        "Bayes-PFL",
        "MoECLIP",
        "ACD-CLIP",
    ]
    assert published_pixel("Liver CT")["April-GAN"] == (0.955, 0.053)
    assert published_image("Head CT") == {"MoECLIP": (0.966, 0.945), "AnomalyVFM DINOv2": (0.882, 0.881)}
    assert published_image("Liver CT")["ACD-CLIP"] == (0.644, 0.573)
    assert published_image("Kvasir") == {}
    pixel_sets = ("Brain MRI", "Liver CT", "Retina OCT", "ColonDB", "ClinicDB", "CVC-300", "Endo", "Kvasir")
    industrial = ("MVTec", "VisA", "BTAD", "RSDD", "DTD-Synthetic")
    figures = [published_pixel(name)["MoECLIP"] for name in (*pixel_sets, *industrial)]
    # The paper's own means over all 13 sets: 94.3 and 47.5.
    assert sum(figure.auroc for figure in figures) / 13 == pytest.approx(0.943, abs=6e-4)
    assert sum(figure.ap for figure in figures) / 13 == pytest.approx(0.475, abs=6e-4)


def test_two_runs_are_compared_patient_by_patient(patient_folder, make_detector, tmp_path):
    dataset = read_folder("own", patient_folder)
    first, second = make_detector(), make_detector()
    worse = second.detector.map_slices

    def inverted(slices, box=None, *, want_routing=False):
        maps = worse(slices, box, want_routing=want_routing)
        maps.raw = 1 - maps.raw
        return maps

    second.detector.map_slices = inverted
    second.detector.identity = "1" * 64
    for name, detector in (("a", first), ("b", second)):
        run_benchmark([dataset], detector, baseline_systems(), BenchmarkSettings(tmp_path / name))
    pixel = next(one for one in compare(tmp_path / "a", tmp_path / "b") if one.figure == "pixel AUROC")
    assert pixel.protocol is Protocol.FOREGROUND
    assert pixel.units == 12
    assert pixel.first.value + pixel.second.value == pytest.approx(1.0, abs=1e-3)
    assert pixel.p_value < 0.01
    assert pixel.difference.interval.high < 0
    same = compare(tmp_path / "a", tmp_path / "a")
    assert {one.difference.value for one in same} == {0.0}
    dice = next(one for one in same if one.figure == "case Dice")
    assert dice.p_value == dice.corrected == 1.0
    text = comparison_text(compare(tmp_path / "a", tmp_path / "b"))
    assert "first is better" in text
    assert "| own | pixel AUROC |" in text


@pytest.fixture(scope="module")
def finished(write_patients, make_detector, tmp_path_factory):
    """A finished run, and how to go on with it."""
    folder = tmp_path_factory.mktemp("finished")
    dataset = read_folder("own", write_patients(folder / "own"))

    def go_on(output):
        return run_benchmark([dataset], make_detector(), [], BenchmarkSettings(output))

    go_on(folder / "out")
    return folder / "out", go_on


def damaged(run, folder, name, damage):
    """Copy a run, and damage one file of the copy."""
    copy = shutil.copytree(run, folder / "copy")
    (path,) = copy.glob(f"counts/*/{name}")
    damage(path)
    return copy


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def hold_objects(path):
    np.savez(path, key=np.array([{}], dtype=object))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("progress.json", cut),
        ("progress.json", lambda path: path.write_text("[]")),
        ("progress.json", lambda path: path.write_text('{"settings_hash": 5}')),
        ("rows-00000.npz", cut),
        ("rows-00000.npz", Path.unlink),
        ("rows-00000.npz", hold_objects),
        ("rows-00000.npz", lambda path: np.savez(path, key=np.array(["a", "b"]))),
    ],
)
def test_a_damaged_run_is_named_when_it_is_compared(finished, tmp_path, name, damage):
    copy = damaged(finished[0], tmp_path, name, damage)
    with pytest.raises(InputError) as caught:
        compare(finished[0], copy)
    assert lacking(caught.value, "damaged", "--restart") == []


def name_another_file(path):
    path.write_text(path.read_text().replace("counts-00000.npz", "../../../another.npz"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [("progress.json", cut), ("progress.json", name_another_file), ("counts-00000.npz", cut)],
)
def test_a_damaged_run_is_not_gone_on_with(finished, tmp_path, name, damage):
    copy = damaged(finished[0], tmp_path, name, damage)
    with pytest.raises(InputError) as caught:
        finished[1](copy)
    assert lacking(caught.value, name, "--restart") == []


def test_comparing_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no benchmark run"):
        compare(tmp_path, tmp_path)
