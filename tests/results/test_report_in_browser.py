"""report.html in a real browser: it shows its pictures and reports no error."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from moeclip_med.results import write_results

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")


def browse(page, folder, *options):
    """Take a screenshot; returns its pixels and what the page wrote to the console."""
    picture = folder / "page.png"
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1400,1600"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", f"--screenshot={picture}", *options]
    result = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    assert picture.is_file(), result.stderr[-2000:]
    console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    return np.asarray(Image.open(picture).convert("RGB")).astype(int), console


def count(pixels, colour, tolerance=12):
    return int((np.abs(pixels - np.array(colour)).max(axis=-1) <= tolerance).sum())


def hot(pixels):
    """Pixels in the warm colours of high scores over bright tissue."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return int(((red > 230) & (green > 120) & (green < 215) & (blue < 140) & (red - blue > 100)).sum())


def test_pictures_overlays_and_outlines_are_drawn(nifti_anomaly, tmp_path):
    page = write_results(nifti_anomaly, tmp_path / "out", ["report"]).files["report"]
    pixels, console = browse(page, tmp_path)
    assert console == []
    below = pixels[300:]
    assert count(below, (0, 0, 0)) > 100_000  # black surround of the slices
    assert hot(below) > 500
    assert count(below, (0x55, 0xFF, 0xFF), 40) > 100
    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("base64,U", "base64,X"), encoding="utf-8")
    assert hot(browse(broken, tmp_path)[0][300:]) < 50  # so the check above can fail


def test_dark_scheme(nifti_anomaly, tmp_path):
    page = write_results(nifti_anomaly, tmp_path / "out", ["report"]).files["report"]
    light, _ = browse(page, tmp_path)
    dark, console = browse(page, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert console == []
    assert light[1500, 10].min() > 230
    assert dark[1500, 10].max() < 30


def test_the_console_is_watched_at_all(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<script>console.error('seen')</script>")
    _, console = browse(page, tmp_path)
    assert any("seen" in line for line in console)
