"""An option that cannot do anything beside another is refused or told, never silently omitted."""

from __future__ import annotations

import os

import pytest
from moeclip_transforms.errors import InputError
from sentences import lacking

from moeclip_med.cli.pacs_options import read_address
from moeclip_med.cli.score import make_dicom_options, make_prompts
from moeclip_med.results.formats import SegmentationKind
from moeclip_med.training.entry import TrainRequest, train


@pytest.mark.parametrize(
    ("recipe", "change", "option"),
    [
        ("lite", {"tower_weights": "tower.pt"}, "--tower-weights"),
        ("lite", {"values": "released"}, "--values"),
        ("lite", {"workers": 2}, "--workers"),
        ("duo", {"values": "released"}, "--values"),
        ("timm:vit_tiny.x", {"values": "released"}, "--values"),
        ("vit-l-14-336", {"workers": 2}, "--workers"),
        ("vit-l-14-336", {"crops": 100}, "--crops"),
        ("vit-l-14-336", {"start_from": ("lite",)}, "--start-from"),
        ("vit-l-14-336", {"normal_only": ("a",)}, "--normal-only"),
    ],
)
def test_what_a_recipe_does_not_use_is_refused(tmp_path, recipe, change, option):
    request = TrainRequest(recipe=recipe, images=[], folder=tmp_path / "run", hold_out=("a",), **change)
    with pytest.raises(InputError) as caught:
        train(request)
    assert not lacking(caught.value, option, "no effect", recipe, "; omit")


@pytest.mark.parametrize(
    ("seg", "formats", "is_told"),
    [
        (SegmentationKind.LABELMAP, {"json"}, True),
        (SegmentationKind.LABELMAP, {"seg"}, False),
        (SegmentationKind.LABELMAP, {"sr"}, False),
        (SegmentationKind.BINARY, {"json"}, False),
    ],
)
def test_a_kind_of_segmentation_without_one_is_told(caplog, seg, formats, is_told):
    assert make_dicom_options(seg, None, frozenset(formats)).segmentation is seg
    assert ("--seg labelmap has no effect" in caplog.text) == is_told


def test_a_prompt_beside_phrases_for_both_sides_is_told(caplog):
    make_prompts("brain MRI", ["a healthy brain"], None)
    assert not caplog.text
    make_prompts("brain MRI", ["a healthy brain"], ["a tumour"])
    assert "--prompt has no effect" in caplog.text


@pytest.mark.parametrize(
    ("url", "user", "files", "option"),
    [
        ("https://pacs.example", "", {"password_file"}, "the password has no effect"),
        ("https://pacs.example", "reader", {"token_file"}, "--user has no effect"),
        ("https://a:b@pacs.example", "", {"token_file"}, "--user has no effect"),
        ("http://localhost", "", {"ca_bundle"}, "--ca-bundle has no effect"),
        ("http://localhost", "", {"client_certificate"}, "--client-certificate has no effect"),
        ("https://pacs.example", "", {"token_file", "ca_bundle", "client_certificate"}, ""),
        ("https://pacs.example", "reader", {"password_file"}, ""),
        ("https://a@pacs.example", "", {"password_file"}, ""),
    ],
)
def test_what_a_pacs_would_never_see_is_told(tmp_path, caplog, monkeypatch, url, user, files, option):
    for variable in ("MOECLIP_MED_PACS_PASSWORD", "MOECLIP_MED_PACS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "secret"
    path.write_text("hush")
    path.chmod(0o600)
    names = ("password_file", "token_file", "ca_bundle", "client_certificate")
    read_address(url, user, *(path if name in files else None for name in names))
    assert option in caplog.text
    assert ("no effect" in caplog.text) == bool(option)
    assert "hush" not in caplog.text


def test_the_user_of_the_address_goes_with_the_password_of_a_file(tmp_path):
    (tmp_path / "password").write_text("hush")
    address = read_address("https://reader@pacs.example/dw", "", tmp_path / "password", None, None, None)
    assert (address.user, address.password) == ("reader", "hush")


def test_processes_that_read_images_inherit_no_secret(monkeypatch):
    url, token = "https://a:b@pacs.example", "hush"
    for name, value in (("URL", url), ("TOKEN", token), ("PASSWORD", "b")):
        monkeypatch.setenv(f"MOECLIP_MED_PACS_{name}", value)
    assert read_address(url, "", None, None, None, None).token == token
    assert not [name for name in os.environ if name.startswith("MOECLIP_MED_PACS_")]
