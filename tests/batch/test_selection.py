"""Rules that choose among the series of a study."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from batch_fakes import LoadFake, Recorder, settings
from hospital_files import Patient, write_series
from moeclip_transforms.discovery import scan
from moeclip_transforms.errors import InputError

from moeclip_med.batch.driver import run_batch
from moeclip_med.batch.overview import look_at_archive
from moeclip_med.batch.records import SeriesState
from moeclip_med.batch.selection import NO_RULE, Selection, decide


def rules(folder: Path, text: str) -> Selection:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return Selection.read(path)


@pytest.fixture
def study(tmp_path):
    """One patient's study: two axial series of different length, a sagittal one, and a CT."""
    patient = Patient()
    root = tmp_path / "study"
    write_series(root / "axial-short", patient, shape=(24, 20, 3), seed=1)
    write_series(root / "axial-long", patient, shape=(24, 20, 6), seed=2)
    write_series(root / "sagittal", patient, shape=(24, 20, 4), seed=3)
    for number, path in enumerate(sorted((root / "sagittal").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [4.0 * number, -30.0, 30.0]
        dataset.EchoTime = 90.5
        dataset.save_as(path)
    write_series(root / "ct", patient, modality="CT", shape=(24, 20, 5), seed=4)
    found = scan(sorted(path for path in root.rglob("*") if path.is_file()))
    return {series.files[0].parent.name: series for series in found.series}


def taken(study, selection: Selection) -> dict[str, str]:
    names = list(study)
    decisions = decide(list(study.values()), (), selection)
    return {name: decision.rule for name, decision in zip(names, decisions, strict=True) if not decision.reason}


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("Modality: CT", {"ct"}),
        ("Modality: [ct, US]", {"ct"}),
        ("EchoTime: {min: 90, max: 91}", {"sagittal"}),
        ('"0018,0081": 90.5', {"sagittal"}),
        ("EchoTime: {exists: false}", {"axial-short", "axial-long", "ct"}),
        ("slices: {min: 4}\n      Modality: MR", {"axial-long", "sagittal"}),
        ("plane: sagittal", {"sagittal"}),
        ("path: {matches: 'axial-(short|long)'}", {"axial-short", "axial-long"}),
        ("path: {not: axial}", {"sagittal", "ct"}),
        ("ImageType: {matches: PRIMARY}", {"axial-short", "axial-long", "sagittal", "ct"}),
    ],
)
def test_any_attribute_by_value_range_and_expression(study, tmp_path, condition, wanted):
    selection = rules(tmp_path, f"rules:\n  - name: one\n    where:\n      {condition}\n")
    assert set(taken(study, selection)) == wanted


def test_the_largest_of_the_study_and_one_per_plane(study, tmp_path):
    largest = rules(tmp_path, "rules: [{name: big, where: {Modality: MR}, take: largest}]")
    assert taken(study, largest) == {"axial-long": "big"}
    per_plane = rules(tmp_path, "rules: [{name: planes, where: {Modality: MR}, take: one per plane}]")
    assert taken(study, per_plane) == {"axial-long": "planes", "sagittal": "planes"}


def test_the_first_rule_that_matches_takes_it_and_a_rule_can_leave_out(study, tmp_path):
    selection = rules(
        tmp_path, "rules: [{name: no CT, where: {Modality: CT}, score: false}, {name: rest, where: {slices: {min: 4}}}]"
    )
    decisions = dict(zip(study, decide(list(study.values()), (), selection), strict=True))
    assert decisions["ct"].reason == "excluded by rule no CT"
    assert decisions["axial-long"].rule == "rest"
    assert decisions["axial-short"].reason == NO_RULE
    assert decisions["axial-short"].is_filtered


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rules: []", "rules"),
        ("rules: [{name: a, takes: all}]", "rules/0"),
        ("rules: [{name: a, where: {Modalty: CT}}]", "Modalty"),
        ("rules: [{name: a, where: {Modality: {matches: '('}}}]", "malformed"),
        ("rules: [{name: 'a\\x1b', where: {}}]", "rules/0"),
        ("a: [", "no YAML"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused_with_its_place(tmp_path, text, named):
    with pytest.raises(InputError, match="rules.yaml") as caught:
        rules(tmp_path, text)
    assert named in str(caught.value)


def test_an_expression_that_a_value_could_make_run_for_ever_is_ended(study, tmp_path):
    series = study["ct"]
    dataset = pydicom.dcmread(series.files[0])
    dataset.ProtocolName = "a" * 60 + "!"
    dataset.save_as(series.files[0])
    selection = rules(tmp_path, "rules: [{name: a, where: {ProtocolName: {matches: '^(a|a|aa)+$'}}}]")
    with pytest.raises(InputError, match="takes too long"):
        selection.decide([series])


@pytest.mark.usefixtures("without_processes")
def test_a_dry_run_shows_which_rule_takes_what_and_a_run_does_the_same(study, tmp_path):
    root = next(iter(study.values())).files[0].parents[1]
    selection = rules(tmp_path, "rules: [{name: big, where: {Modality: MR}, take: largest}]")
    chosen = settings(root, tmp_path / "out", selection=selection)
    look = look_at_archive(chosen, Recorder())
    assert [(line.path.parent.name, line.rule) for line in look.series if not line.reason] == [("axial-long", "big")]
    outcome = run_batch(chosen, Recorder(), load=LoadFake())
    assert outcome.counts.series[SeriesState.DONE] == 1
    assert outcome.counts.series[SeriesState.SKIPPED] == 3
    everything = settings(root, tmp_path / "out")
    again = run_batch(everything, Recorder(), load=LoadFake())
    assert again.counts.series[SeriesState.DONE] == 4, "other rules look again at what these excluded"
