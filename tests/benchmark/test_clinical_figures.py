"""Cases, lesions, healthy cases, strata, thresholds, other programs' maps, and the record of looks."""

import csv
import json
import re

import jsonschema
import nibabel
import numpy as np
import pytest
from moeclip_transforms.errors import InputError, NoticeWarning
from scipy import stats

from moeclip_med.benchmark.datasets.folder import read_folder
from moeclip_med.benchmark.datasets.healthy import add_healthy
from moeclip_med.benchmark.datasets.user_volumes import read_volumes
from moeclip_med.benchmark.looks import Look, add_look, count_looks, looks_path, read_looks
from moeclip_med.benchmark.maps import MapSource
from moeclip_med.benchmark.outcomes import ThresholdKind
from moeclip_med.benchmark.report.exports import lesion_table
from moeclip_med.benchmark.report.html import schema
from moeclip_med.benchmark.report.report_files import write_report
from moeclip_med.benchmark.report.set_tables import set_tables
from moeclip_med.benchmark.run import BenchmarkSettings, run_benchmark, set_folder_name
from moeclip_med.benchmark.stored_rows import Scores
from moeclip_med.benchmark.summary import combine, scores_part
from moeclip_med.benchmark.systems import baseline_systems
from moeclip_med.metrics.bootstrap import paired_difference

SHAPE = (32, 32, 12)
LESIONS = [[(6, 6, 2)], [(14, 16, 5)], [(20, 8, 4), (8, 20, 7)]]


def write_volume(path, rng, lesions):
    image = np.zeros(SHAPE, np.float32)
    image[3:29, 3:29] = rng.normal(100, 5, (26, 26, SHAPE[2]))
    mask = np.zeros(SHAPE, np.uint8)
    for x, y, z in lesions:
        mask[x : x + 7, y : y + 7, z : z + 4] = 1
    image[mask > 0] += 100
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    if lesions:
        nibabel.save(nibabel.Nifti1Image(mask, affine), path.with_name(path.name.replace(".nii.gz", "_mask.nii.gz")))
    return image, mask


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_detector):
    """Three volumes with lesions, two healthy ones, a perfect program and one that misses a lesion."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for program in ("perfect", "half"):
        (root / program / "healthy").mkdir(parents=True)
    for number, lesions in enumerate(LESIONS):
        _, mask = write_volume(root / "cases" / f"{number}.nii.gz", rng, lesions)
        nibabel.save(nibabel.Nifti1Image(mask.astype(np.float32), affine), root / "perfect" / f"{number}.nii.gz")
        half = mask.copy()
        half[16:, :16] = 0
        np.save(root / "half" / f"{number}.npy", half.astype(np.float32))
    for number in range(2):
        write_volume(root / "healthy" / f"{number}.nii.gz", rng, [])
        blank = np.zeros(SHAPE, np.float32)
        nibabel.save(nibabel.Nifti1Image(blank, affine), root / "perfect" / "healthy" / f"{number}.nii.gz")
        blank[5:9, 5:9, 3:6] = 1.0
        np.save(root / "half" / "healthy" / f"{number}.npy", blank)
    (root / "strata.csv").write_text("case,scanner\n0,A\n1.nii.gz,B\n2,B\nnone-such,B\n", encoding="utf-8")
    dataset = add_healthy(read_volumes("ours", root / "cases"), root / "healthy")
    settings = BenchmarkSettings(
        root / "out",
        maps=(MapSource("perfect", root / "perfect", 0.5), MapSource("half", root / "half", 0.5)),
        strata={"": root / "strata.csv"},
    )
    result = run_benchmark([dataset], make_detector(), baseline_systems(), settings)
    write_report(result, root / "out", {}, {"ours": set_folder_name("ours")})
    return root, dataset, settings, result


def test_a_perfect_program_is_perfect_in_every_figure(study):
    _, _, _, result = study
    (one,) = result.sets
    level = one.cases["perfect"][ThresholdKind.STORED]
    for name in ("dice", "iou", "sensitivity", "precision", "nsd", "lesion_dice"):
        assert level.spreads[name].mean.value == 1.0, name
        assert level.spreads[name].defined == 3
    for name in ("hd95", "lesion_hd95", "size_error"):
        assert level.spreads[name].mean.value == 0.0, name
    assert level.lesions["lesion_sensitivity"].value == level.lesions["panoptic_50"].value == 1.0
    assert level.lesions["false_positives_per_case"].value == 0.0
    assert level.healthy["healthy_flagged"].value == 0.0
    assert level.healthy_cases == 2
    assert one.metric("perfect", "volume", "auroc").value == 1.0


def test_missed_lesions_and_false_positives_are_counted_in_ml(study):
    _, _, _, result = study
    level = result.sets[0].cases["half"][ThresholdKind.STORED]
    assert level.lesions["lesion_sensitivity"].value == 3 / 4
    assert level.lesions["false_positives_per_case"].value == pytest.approx(2 / 5)
    assert level.healthy["healthy_flagged"].value == 1.0
    assert level.healthy["healthy_findings"].value == 1.0
    assert level.healthy["healthy_size"].value == pytest.approx(4 * 4 * 3 * 12 / 1000)
    size = 7 * 7 * 4 * 12 / 1000
    assert level.spreads["size_error"].mean.value == pytest.approx(-size / 3)
    (band,) = [band for band in level.bands if band.lesions]
    assert (band.low, band.high, band.lesions, band.hit.value) == (1.0, 10.0, 4, 0.75)
    lesions = lesion_table(result.sets[0])
    missed = [
        (case, size)
        for case, size, system, hit in zip(
            lesions["case"], lesions["size"], lesions["system"], lesions["is_hit"], strict=True
        )
        if system == "half" and not hit
    ]
    assert missed == [("2.nii.gz", pytest.approx(size))]


def test_findings_are_those_that_the_product_lists(study, make_detector):
    from moeclip_transforms import read_volume

    from moeclip_med.scoring import score_volume

    root, _, _, result = study
    one = result.sets[0]
    counted = one.rows.outcomes("detector", ThresholdKind.STORED)
    for row, key in enumerate(one.rows.keys):
        if key.startswith("healthy"):
            continue
        anomaly = score_volume(read_volume(root / "cases" / str(key)), make_detector().detector)
        assert counted["findings"][row] == len(anomaly.findings)
        listed = sum(finding.volume_ml for finding in anomaly.findings)
        assert counted["found_size"][row] == pytest.approx(listed, rel=1e-6)


def test_strata_are_apart_small_ones_are_marked_and_unknown_cases_named(study):
    _, _, _, result = study
    one = result.sets[0]
    scanners = {part.stratum.value: part for part in one.strata if part.stratum.column == "scanner"}
    assert {name: int(part.stratum.chosen.sum()) for name, part in scanners.items()} == {"A": 1, "B": 2}
    assert all(part.stratum.is_small for part in scanners.values())
    assert [problem.key for problem in one.problems if problem.fault.name == "STRATUM_UNKNOWN"] == ["none-such"]
    missing = [problem.key for problem in one.problems if problem.fault.name == "STRATUM_MISSING"]
    assert missing == ["healthy/0.nii.gz", "healthy/1.nii.gz"]


def test_every_figure_is_given_for_each_stratum_in_json_and_csv(study):
    root, _, _, _ = study
    content = json.loads((root / "out" / "benchmark.json").read_text(encoding="utf-8"))["datasets"]["ours"]
    part = next(one for one in content["strata"] if one["value"] == "B" and one["system"] == "half")
    assert (part["cases"], part["units"], part["is_small"]) == (2, 2, True)
    level = content["findings"]["half"]["at_threshold"]["stored"]
    wanted = {f"pixel.{name}" for name in content["details"]["half"]["foreground"]["pixel"]["metrics"]}
    wanted |= {f"case.{name}" for name in level["cases"]} | {f"lesion.{name}" for name in level["lesions"]}
    wanted |= {f"froc.{name}" for name in content["findings"]["half"]["froc"]}
    assert wanted <= set(part["metrics"])
    assert part["metrics"]["lesion.lesion_sensitivity"]["value"] == 2 / 3  # case 2 holds the lesion that was missed
    with (root / "out" / "benchmark.csv").open(newline="", encoding="utf-8") as stream:
        lines = [line for line in csv.DictReader(stream) if (line["class"], line["system"]) == ("scanner: B", "half")]
    assert {f"{line['kind']}.{line['metric']}" for line in lines} == set(part["metrics"])


def test_the_paired_test_of_image_aurocs_agrees_with_delong():
    rng = np.random.default_rng(3)
    labels, units = rng.random(150) < 0.5, np.arange(150).astype(str)
    first = labels + rng.normal(0, 1, 150)
    for noise in (0.5, 1.5):
        second = first + rng.normal(0, noise, 150)
        levels = [combine({"": scores_part(Scores(one, labels, units), "images")}, "images") for one in (first, second)]
        metrics, samples = ([getattr(one, name)["auroc"] for one in levels] for name in ("metrics", "samples"))
        _, own = paired_difference(*metrics, tuple(samples), 150, "images")
        assert own == pytest.approx(delong(first, second, labels), abs=0.05)


def delong(first, second, labels):
    """The test of DeLong et al., Biometrics 1988: shares of the other class that each case lies above."""
    placements = []
    for scores in (first, second):
        above = scores[labels][:, None] > scores[~labels]
        placements.append((above.mean(axis=1), above.mean(axis=0)))
    apart = [other - one for one, other in zip(*placements, strict=True)]
    variance = sum(part.var(ddof=1) / len(part) for part in apart)
    return 2 * stats.norm.sf(abs(apart[0].mean()) / np.sqrt(variance))


def test_pages_say_what_the_json_says(study):
    root, _, _, result = study
    content = json.loads((root / "out" / "benchmark.json").read_text(encoding="utf-8"))
    text = (root / "out" / "benchmark.md").read_text(encoding="utf-8")
    page = (root / "out" / "benchmark.html").read_text(encoding="utf-8")
    systems = {"blurred-brightness": "detector", "perfect": "perfect", "half": "half"}
    own = content["datasets"]["ours"]

    def column(caption, heading):
        header, rows = table_of(text, caption)
        return {row[0].strip("*"): row[header.index(heading)] for row in rows}

    names = (("lesions hit", "lesion_sensitivity", 100), ("false positives per case", "false_positives_per_case", 1))
    for heading, name, factor in names:
        for label, cell in column("Lesions", heading).items():
            value = own["findings"][systems[label]]["at_threshold"]["stored"]["lesions"][name]["value"]
            assert float(cell.split(" ")[0]) == pytest.approx(factor * value, abs=0.051), (label, heading)
    for heading, name in (("pixel AUROC", "auroc"), ("pixel AP", "ap"), ("pixel F1max", "f1max")):
        for label, cell in column("Pixels and slices: foreground, the headline", heading).items():
            key = systems.get(label, label.replace(" ", "_"))
            value = own["details"][key]["foreground"]["pixel"]["metrics"][name]["value"]
            assert float(cell.split(" ")[0]) == pytest.approx(100 * value, abs=0.051), (label, heading)
    header, rows = table_of(text, "Lesions hit at up to so many false positives per case (FROC)")
    for row in rows:
        froc = own["findings"][systems.get(row[0].strip("*"), row[0].replace(" ", "_"))]["froc"]
        for place, heading in enumerate(header[1:], start=1):
            name = "froc_mean" if heading == "mean" else f"sensitivity_at_{heading.removeprefix('at ')}"
            assert float(row[place].split(" ")[0]) == pytest.approx(100 * froc[name]["value"], abs=0.051)
    for table in set_tables(result.sets[0]):
        assert f"**{table.caption}**" in text
        cells = [cell.text for row in table.rows for cell in row.cells]
        shown = re.findall(r'<td[^>]*><span class="[^"]*">([^<]*)</span>', page)
        assert set(cells) <= set(shown) | {""}


def table_of(text, caption):
    lines = text.split(f"**{caption}**")[1].strip().split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return rows[0], rows[2:]


def test_json_follows_its_schema(study):
    root, _, _, _ = study
    content = json.loads((root / "out" / "benchmark.json").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema())
    del content["datasets"]["ours"]["looks_before"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema())


def test_tables_of_cases_are_the_same_as_csv_and_parquet(study):
    from pyarrow import parquet

    root, _, _, _ = study
    with (root / "out" / "cases" / "ours.csv").open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    table = parquet.read_table(root / "out" / "cases" / "ours.parquet").to_pydict()
    assert [line["case"] for line in lines] == table["case"]
    assert float(lines[0]["perfect.stored.dice"]) == table["perfect.stored.dice"][0] == 1.0
    assert table["perfect.stored.dice"][3] is None
    assert lines[3]["perfect.stored.dice"] == ""


def test_looks_are_counted_once_for_each_evaluation(study, make_detector, tmp_path):
    _, dataset, settings, result = study
    before, _ = result.sets[0].looks
    again = run_benchmark([dataset], make_detector(), baseline_systems(), settings)
    assert again.sets[0].looks[0] == before  # the same run, only reported again
    anew = BenchmarkSettings(tmp_path / "anew")
    fresh = run_benchmark([dataset], make_detector(), [], anew)
    assert fresh.sets[0].looks == (before + 1, 1)
    look = read_looks(looks_path())[-1]
    assert look.name == "ours"
    assert look.figures["pixel.auroc"] == fresh.sets[0].metric("detector", "pixel", "auroc").value
    assert "nii" not in looks_path().read_text(encoding="utf-8")


def test_a_record_out_of_reach_is_told_and_costs_no_figure(patient_folder, make_detector, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOECLIP_MED_DATA", str(tmp_path / "file"))
    dataset = read_folder("own", patient_folder)
    with pytest.warns(NoticeWarning, match="not recorded.*MOECLIP_MED_DATA"):
        result = run_benchmark([dataset], make_detector(), [], BenchmarkSettings(tmp_path / "out"))
    assert result.sets[0].looks == (-1, -1)
    assert result.sets[0].metric("detector", "pixel", "auroc").value is not None


def test_a_broken_line_does_not_lose_the_record(tmp_path):
    path = tmp_path / "deep" / "looks.jsonl"
    look = Look("a" * 64, "set", "lite 5", "b" * 64, {}, "2026-01-01T00:00:00+00:00", {})
    add_look(path, look)
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"set_sha256": "cut\n')
    add_look(path, look)
    assert count_looks(read_looks(path), "a" * 64) == (2, 1)


def test_a_threshold_chosen_elsewhere_is_told_apart(write_patients, make_detector, tmp_path):
    sets = [read_folder(name, write_patients(tmp_path / name, patients=2)) for name in ("here", "there")]
    settings = BenchmarkSettings(tmp_path / "out", threshold_from="there")
    here, there = run_benchmark(sets, make_detector(), baseline_systems(), settings).sets
    assert set(here.cases["detector"]) == {ThresholdKind.STORED, ThresholdKind.CHOSEN}
    assert set(there.cases["detector"]) == {ThresholdKind.STORED}
    assert set(here.cases["brightness"]) == {ThresholdKind.CHOSEN}
    oracle = here.metric("detector", "pixel", "f1max").value
    chosen = here.metric("detector", "threshold_chosen", "dice").value
    assert 0.9 * oracle < chosen <= oracle + 1e-9
    tables = {table.caption: table for table in set_tables(here)}
    kinds = {row.cells[0].text for row in tables["Pixels at a threshold"].rows}
    assert kinds == {"stored", "chosen on there", "oracle (chosen on this very set)"}
    with pytest.raises(InputError, match='--threshold-from "none"'):
        run_benchmark(sets, make_detector(), [], BenchmarkSettings(tmp_path / "no", threshold_from="none"))


def test_maps_that_do_not_fit_are_counted_and_named(study, make_detector, tmp_path):
    _, dataset, _, _ = study
    maps = tmp_path / "bad"
    maps.mkdir()
    np.save(maps / "0.npy", np.zeros((3, 3, 3), np.float32))
    broken = np.zeros(SHAPE, np.float32)
    broken[0, 0, 0] = np.nan
    np.save(maps / "1.npy", broken)
    settings = BenchmarkSettings(tmp_path / "out", maps=(MapSource("bad", maps),))
    one = run_benchmark([dataset], make_detector(), [], settings).sets[0]
    faults = {problem.key: problem.fault.name for problem in one.problems}
    assert faults["0.nii.gz"] == "MAP_UNREADABLE"
    assert faults["1.nii.gz"] == "NOT_FINITE"
    assert faults["2.nii.gz"] == "MAP_MISSING"
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = BenchmarkSettings(tmp_path / "o", maps=(MapSource("e", empty),))
    with pytest.raises(InputError, match="holds no map of ours"):
        run_benchmark([dataset], make_detector(), [], nothing)
