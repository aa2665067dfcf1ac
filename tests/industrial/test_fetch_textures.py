"""What is taken from a package of textures: photographs that are large, not flat and not there already."""

from __future__ import annotations

import io
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "fetch_textures.py"))


def texture(seed: int, side: int = 256, contrast: float = 40.0) -> bytes:
    """A rough surface as DDS."""
    coarse = np.random.default_rng(seed).normal(128, contrast, (side // 32, side // 32, 4)).clip(0, 255)
    coarse[..., 3] = 200
    image = Image.fromarray(coarse.astype(np.uint8), "RGBA").resize((side, side), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "DDS")
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "public.zip"
    with zipfile.ZipFile(path, "w") as files:
        for name, content in {
            "alpine/rock.dds.cached.dds": texture(1),
            "alpine/rock_norm.png.cached.dds": texture(2),
            "alpine/rock_spec.png.cached.dds": texture(3),
            "india/rock_again.dds.cached.dds": texture(1),
            "india/paving.png.cached.dds": texture(4, side=1280),
            "india/flat.dds.cached.dds": texture(5, contrast=1),
            "india/small.dds.cached.dds": texture(6, side=128),
            "india/readme.txt": b"no texture",
        }.items():
            files.writestr(f"art/textures/terrain/types/{name}", content)
        files.writestr("art/textures/ui/button.dds", texture(7))
    return path


def test_photographs_are_kept_once_and_their_terms_beside_them(archive, tmp_path):
    assert SCRIPT["write"](archive, tmp_path / "out") == 2
    found = {}
    for path in (tmp_path / "out" / "terrain").iterdir():
        with Image.open(path) as image:
            found[path.name] = image.mode, image.size
    assert found == {
        "alpine-rock.png": ("RGB", (256, 256)),
        "india-paving.png": ("RGB", (1024, 1024)),
    }
    assert "Attribution-ShareAlike 3.0" in (tmp_path / "out" / "terrain.terms.txt").read_text(encoding="utf-8")


def test_another_package_is_refused(tmp_path):
    package = tmp_path / "0ad-data.deb"
    package.write_bytes(b"!<arch>\n")
    with pytest.raises(SystemExit, match=r"0ad-data\.deb: SHA-256 is [0-9a-f]{64}; expected 53745ae7"):
        SCRIPT["check"](package)
