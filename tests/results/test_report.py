"""report.html: what it says, and where things lie in its pictures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moeclip_transforms import Volume
from PIL import Image
from result_cases import Blob, changed, score

from moeclip_med.results import write_results
from moeclip_med.results.report.page import MOST_ILLUSTRATED, report_page
from moeclip_med.results.report.panels import PanelMaker, scale_bar


class Reader(HTMLParser):
    """Visible text, and the attributes of every element."""

    def __init__(self):
        super().__init__()
        self.texts, self.elements, self._hidden = [], [], False

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag == "style"

    def handle_data(self, data):
        if not self._hidden and data.strip():
            self.texts.append(data.strip())


def read(anomaly, folder):
    html = write_results(anomaly, folder, ["report"]).files["report"].read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(html)
    return html, reader


def decode(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_it_is_self_contained_and_runs_nothing(nifti_anomaly, tmp_path):
    html, reader = read(nifti_anomaly, tmp_path / "out")
    assert "http" not in html.replace("http-equiv", "")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.elements}
    references = [attrs[name] for _, attrs in reader.elements for name in ("src", "href") if name in attrs]
    assert len(references) > 20
    assert all(reference.startswith(("data:image/webp;base64,", "#grey-")) for reference in references)


@pytest.mark.parametrize("shape", [(20_000, 12), (12, 20_000)])
def test_pictures_longer_than_their_format_allows_are_made_smaller(tmp_path, shape):
    volume = Volume.from_array(np.random.default_rng(0).random(shape, dtype=np.float32) * 100, name="strip.png")
    anomaly = score(volume, (Blob((shape[0] // 2, shape[1] // 2, 0), 4, 0.9),))
    _, reader = read(anomaly, tmp_path / "out")
    pictures = [attrs["href"] for _, attrs in reader.elements if attrs.get("href", "").startswith("data:")]
    assert pictures
    assert all(max(decode(picture).shape) == 1600 for picture in pictures)


def test_research_use_and_uncalibrated_cannot_be_missed(nifti_anomaly, tmp_path):
    _, reader = read(nifti_anomaly, tmp_path / "out")
    assert reader.texts[1] == "Research use only. Not a medical device."  # first thing under the title
    assert "Uncalibrated threshold" in reader.texts
    _, reader = read(changed(nifti_anomaly, "settings", is_calibrated=True), tmp_path / "out")
    assert "Calibrated threshold" in reader.texts
    assert "Uncalibrated threshold" not in reader.texts


def test_the_verdict_counts_findings(nifti_anomaly, tmp_path):
    _, reader = read(nifti_anomaly, tmp_path / "out")
    assert "2 findings above the threshold" in reader.texts
    assert "Highest anomaly score 0.92, above the threshold of 0.50." in reader.texts


def test_without_findings_the_highest_score_is_shown_and_called_that(nifti_anomaly, tmp_path):
    anomaly = replace(
        nifti_anomaly,
        findings=(),
        labels=np.zeros_like(nifti_anomaly.labels),
        scores=nifti_anomaly.scores * np.float32(0.4),
    )
    html, reader = read(anomaly, tmp_path / "out")
    assert "No finding above the threshold" in reader.texts
    assert "below the threshold: shown for orientation only" in reader.texts
    assert '<path class="outline"' not in html
    assert "<table>" not in html


def test_only_the_first_findings_have_pictures_and_the_table_has_all(nifti_anomaly, tmp_path):
    findings = tuple(
        replace(nifti_anomaly.findings[0], rank=rank, label=rank) for rank in range(1, MOST_ILLUSTRATED + 3)
    )
    _, reader = read(replace(nifti_anomaly, findings=findings), tmp_path / "out")
    assert "2 more in the table below, without pictures." in reader.texts
    assert sum(tag == "tr" for tag, _ in reader.elements) == len(findings) + 1


def test_texts_are_escaped(nifti_anomaly, tmp_path):
    volume = replace(nifti_anomaly.volume, notes=("<script>alert(1)</script>",))
    html, reader = read(replace(nifti_anomaly, volume=volume), tmp_path / "out")
    assert "<script" not in html
    assert "<script>alert(1)</script>" in reader.texts


def test_a_photograph_has_neither_letters_nor_millimetres(photo_anomaly, tmp_path):
    _, reader = read(photo_anomaly, tmp_path / "out")
    assert "1 finding above the threshold" in reader.texts
    assert "160 × 120 pixels" in reader.texts
    assert not [text for text in reader.texts if re.search(r"\bmm\b|\bml\b", text)]
    assert not {"R", "L", "A", "P", "S", "I"} & set(reader.texts)


def test_the_left_of_the_patient_is_on_the_right(dicom_anomaly):
    anomaly = dicom_anomaly("axial")
    finding = anomaly.findings[0]
    maker = PanelMaker(anomaly)
    panel = maker.at_voxel(maker.main_view, finding.peak_voxel)
    overlay = decode(panel.overlay).astype(float)
    rows, columns = np.nonzero(overlay[..., 3] > 140)
    left_lps, posterior_lps, _ = finding.centre_lps_mm
    middle_lps = np.diag([-1, -1, 1]) @ (anomaly.affine.matrix[:3] @ [31.5, 35.5, 11.5, 1])
    assert (panel.letters.left, panel.letters.right) == ("R", "L")
    assert (panel.letters.top, panel.letters.bottom) == ("A", "P")
    assert (columns.mean() > 31.5) == (left_lps > middle_lps[0])
    assert (rows.mean() > 35.5) == (posterior_lps > middle_lps[1])


@pytest.mark.parametrize("orientation", ["axial", "sagittal", "oblique"])
def test_three_planes_meet_in_the_peak(dicom_anomaly, orientation):
    anomaly = dicom_anomaly(orientation)
    (section, *_) = report_page(anomaly, ()).sections
    assert len({panel.plane for panel in section.panels}) == 3
    assert section.panels[0].plane == anomaly.planes[0]
    for panel in section.panels:
        assert 1 in {outline.rank for outline in panel.outlines}
        left, top, width, height = panel.frame
        points = np.array(re.findall(r"([\d.]+) ([\d.]+)", panel.outlines[0].path), dtype=float)
        assert (points > [left, top]).all()
        assert (points < [left + width, top + height]).all()


def test_a_tilted_series_shows_the_acquired_plane_alone(dicom_anomaly):
    anomaly = dicom_anomaly("tilted")
    page = report_page(anomaly, ())
    assert [panel.plane for panel in page.sections[0].panels] == ["axial"]
    assert "Tilted or uneven slices" in [badge.text for badge in page.badges]


def test_an_outline_encloses_its_finding_in_mm(nifti_anomaly):
    maker = PanelMaker(nifti_anomaly)
    finding = nifti_anomaly.findings[0]
    panel = maker.at_voxel(maker.main_view, finding.peak_voxel)
    x, y = np.array(re.findall(r"([\d.]+) ([\d.]+)", panel.outlines[0].path), dtype=float).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    pixels = (nifti_anomaly.labels[:, :, finding.peak_voxel[2]] == finding.label).sum()
    assert area == pytest.approx(pixels * 2.6 * 2.5, rel=0.05)


def test_pictures_are_drawn_to_scale(nifti_anomaly):
    maker = PanelMaker(nifti_anomaly)
    panel = maker.at_slice(maker.main_view, 3)
    assert decode(panel.image).shape == (72, 64, 3)
    assert (panel.width, panel.height) == pytest.approx((64 * 2.6, 72 * 2.5))
    assert panel.scale_bar.length == 50
    assert panel.scale_bar.text == "50 mm"


@given(st.floats(0.5, 2000))
def test_a_scale_bar_has_a_round_length_of_a_readable_size(width):
    bar = scale_bar((0.0, 0.0, width, width))
    assert width / 8 < bar.length <= width / 3 * (1 + 1e-9)
    assert re.fullmatch(r"0\.[125]|[125]0*", f"{bar.length:g}") or bar.length < 0.1


def test_the_profile_is_the_highest_score_of_every_slice(nifti_anomaly):
    profile = report_page(nifti_anomaly, ()).profile
    heights = np.array([float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", profile.line)])
    top, base = profile.levels[2][0], profile.levels[0][0]
    scores = (base - heights) / (base - top)
    np.testing.assert_allclose(scores, nifti_anomaly.scores.max(axis=(0, 1)), atol=0.001)


def test_infinities_in_the_image_do_not_reach_the_pictures(nifti_anomaly, tmp_path):
    nifti_anomaly.volume.tensor[0, 30:34, 30:34] = float("nan")
    nifti_anomaly.volume.tensor[0, 40, 40] = float("inf")
    _, reader = read(nifti_anomaly, tmp_path / "out")
    assert "2 findings above the threshold" in reader.texts
