"""Prompts: the paper's templates, whole phrases, and the library of names."""

from __future__ import annotations

import json

import open_clip
import pytest
from moeclip_transforms.errors import InputError

from moeclip_med.model.prompts import Prompts, find_prompts, prompt_library
from moeclip_med.model.text import TextTower
from moeclip_med.weights.openclip import build_clip


@pytest.fixture(autouse=True)
def _no_own_library(monkeypatch, tmp_path):
    monkeypatch.delenv("MOECLIP_MED_PROMPTS", raising=False)
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_: tmp_path / "config")


def test_a_class_name_goes_into_the_papers_templates():
    prompts = Prompts("polyp")
    assert prompts.normal_phrases() == (
        "polyp.",
        "a photo of polyp.",
        "a polyp.",
        "a photo of a polyp.",
        "the polyp.",
        "a photo of the polyp.",
    )
    assert len(prompts.abnormal_phrases()) == 10
    assert prompts.abnormal_phrases()[0] == "a damaged polyp."
    assert "a photo of a polyp with flaw." in prompts.abnormal_phrases()


def test_whole_phrases_stand_for_themselves():
    prompts = Prompts.from_options(normal=["a healthy colon"], abnormal=["a polyp", "bleeding"])
    assert prompts.normal_phrases() == ("a healthy colon",)
    assert prompts.abnormal_phrases() == ("a polyp", "bleeding")
    assert Prompts.from_options("liver CT", abnormal=["a cyst"]) == Prompts("liver CT", (), ("a cyst",))


def test_the_library_has_medical_names_and_any_other_name_stands_for_itself():
    library = prompt_library()
    assert {"scan", "brain MRI", "liver CT", "colon endoscopy image"} <= set(library)
    assert find_prompts("cashew nut") == Prompts("cashew nut")


def test_the_users_own_names_win(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    own = {"scan": {"name": "MR image"}, "liver": {"normal": ["a healthy liver"], "abnormal": ["a tumour"]}}
    path.write_text(json.dumps(own), encoding="utf-8")
    monkeypatch.setenv("MOECLIP_MED_PROMPTS", str(path))
    assert find_prompts("scan") == Prompts("MR image")
    assert Prompts.from_options("liver").abnormal_phrases() == ("a tumour",)
    assert find_prompts("brain MRI") == Prompts("brain MRI")


def test_a_library_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    monkeypatch.setenv("MOECLIP_MED_PROMPTS", str(path))
    with pytest.raises(InputError, match=r"mine\.json: no such file; .*JSON.*, or unset"):
        prompt_library()
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json: not JSON \(line 1"):
        prompt_library()
    path.write_text('{"scan": {"nme": "x"}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.json, 'scan': .*'nme'.* name, normal"):
        prompt_library()


def test_blank_prompts_are_refused():
    with pytest.raises(InputError, match='prompt is blank; give .*"scan", or whole phrases'):
        Prompts(" ")


def test_a_phrase_longer_than_the_context_is_refused_not_cut(tiny_config):
    tower = TextTower(build_clip(tiny_config, "gelu"), open_clip.get_tokenizer("ViT-B-16"), projected=False)
    assert tower(["word " * 75]).shape == (1, 32)
    with pytest.raises(InputError, match="longer than the 77 tokens .*; shorten"):
        tower(["word " * 76])
