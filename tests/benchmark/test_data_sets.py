"""Published layouts, own folders and own volumes: what is found, and what is said of the rest."""

import json

import nibabel
import numpy as np
import pytest
from moeclip_transforms.errors import InputError

from moeclip_med.benchmark.datasets.case import Fault
from moeclip_med.benchmark.datasets.folder import Unmasked, read_folder
from moeclip_med.benchmark.datasets.healthy import add_healthy
from moeclip_med.benchmark.datasets.locating import CATALOGUE, find_sets, missing_sentence, read_set
from moeclip_med.benchmark.datasets.user_volumes import read_volumes

GREY = np.full((8, 8), 120)
MASK = np.eye(8) * 255


def make(root, save, *paths):
    for path in paths:
        save(root / path, MASK if "mask" in path.lower() or "label" in path or "ground" in path else GREY)


def test_the_papers_fourteen_sets_are_known_with_their_sizes():
    paper = {facts.name: (facts.images, facts.abnormal) for facts in CATALOGUE if facts.in_paper}
    assert len(paper) == 14
    assert paper["Brain MRI"] == (3715, 3075)
    assert paper["DTD-Synthetic"] == (1304, 947)
    assert sum(facts.is_industrial for facts in CATALOGUE) == 5
    assert all(facts.home and facts.terms for facts in CATALOGUE)


def test_every_class_of_the_industrial_sets_has_its_published_prompt():
    by_name = {facts.name: facts for facts in CATALOGUE}
    assert len(by_name["MVTec"].prompts) == 15
    assert by_name["MVTec"].prompts["capsule"] == "black asd orange capsule"
    assert len(by_name["VisA"].prompts) == 12
    assert set(by_name["BTAD"].prompts) == {"01", "02", "03"}


@pytest.mark.parametrize(
    ("name", "images", "masks", "abnormal"),
    [
        (
            "Liver CT",
            ("test/good/img/1.png", "test/Ungood/img/1.png", "test/Ungood/img/2.png"),
            ("test/Ungood/label/1.png", "test/Ungood/label/2.png"),
            2,
        ),
        ("ColonDB", ("images/1.png", "images/2.png"), ("masks/1.png", "masks/2.png"), 2),
        ("Endo", ("test dataset/images/a.jpg",), ("test dataset/masks/a.jpg",), 1),
        ("Head CT", ("test/good/1.png", "test/defect/1.png"), (), 1),
        (
            "MVTec",
            ("screw/test/good/000.png", "screw/test/thread/000.png", "screw/train/good/000.png"),
            ("screw/ground_truth/thread/000_mask.png",),
            1,
        ),
        ("BTAD", ("01/test/ok/1.bmp", "01/test/ko/2.bmp"), ("01/ground_truth/ko/2.png",), 1),
        ("LGG", ("TCGA_A_1/TCGA_A_1_1.tif", "TCGA_A_1/TCGA_A_1_2.tif"), ("TCGA_A_1/TCGA_A_1_1_mask.tif",), 0),
        (
            "PH2",
            ("PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp",),
            ("PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp",),
            0,
        ),
        ("Br35H", ("yes/y0.jpg", "no/no0.jpg"), (), 1),
    ],
)
def test_published_layouts_are_read(tmp_path, save, name, images, masks, abnormal):
    make(tmp_path, save, *images, *masks)
    dataset = read_set(name, tmp_path)
    wanted = [path for path in images if "/train/" not in path]
    assert sorted(case.key for case in dataset.cases) == sorted(wanted)
    assert sum(case.mask is not None for case in dataset.cases) == len(masks)
    assert sum(bool(case.is_abnormal) for case in dataset.cases) == abnormal
    assert not dataset.problems
    assert "not comparable as is" in " ".join(dataset.notes)


def test_visa_tests_the_images_that_its_split_names(tmp_path, save):
    normal = [f"candle/Data/Images/Normal/{n:04}.JPG" for n in range(3)]
    make(tmp_path, save, *normal, "candle/Data/Images/Anomaly/000.JPG", "candle/Data/Masks/Anomaly/000.png")
    with pytest.raises(InputError, match=r"split_csv/1cls\.csv is missing"):
        read_set("VisA", tmp_path)
    split = tmp_path / "split_csv" / "1cls.csv"
    split.parent.mkdir()
    rows = ["object,split,label,image,mask", f"candle,train,normal,{normal[0]},", f"candle,test,normal,{normal[1]},"]
    rows += ["candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png"]
    rows += ["candle,test,normal,candle/Data/Images/Normal/9999.JPG,"]
    split.write_text("\n".join(rows), encoding="utf-8")
    dataset = read_set("VisA", tmp_path)
    assert [case.key for case in dataset.cases] == ["candle/Data/Images/Anomaly/000.JPG", normal[1]]
    assert dataset.prompt("candle") == "candle"
    assert [(p.fault, p.key) for p in dataset.problems] == [(Fault.NOT_IN_SPLIT, "candle/data/images/normal/9999.jpg")]


def test_dtd_classes_are_prompted_by_their_texture(tmp_path, save):
    make(tmp_path, save, "Woven_001/test/good/000.png", "Woven_104/test/bad/000.png")
    dataset = read_set("DTD-Synthetic", tmp_path)
    assert {group: dataset.prompt(group) for group in dataset.groups} == {"Woven_001": "Woven", "Woven_104": "Woven"}


def test_sets_are_found_under_a_root_and_missing_ones_named(tmp_path, save):
    make(tmp_path, save, "medical/CVC-ColonDB/CVC-ColonDB/images/1.png", "medical/CVC-ColonDB/CVC-ColonDB/masks/1.png")
    make(tmp_path, save, "Brain_AD/test/good/img/1.png")
    found, missing = find_sets(tmp_path)
    assert [one.name for one in found] == ["Brain MRI", "ColonDB"]
    assert len(missing) == 12
    visa = next(facts for facts in missing if facts.name == "VisA")
    assert missing_sentence(visa) == (
        "VisA is missing: published at https://github.com/amazon-science/spot-diff (Zou et al., ECCV 2022); "
        "terms: CC BY 4.0"
    )


def test_a_root_without_sets_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds none of the published sets"):
        find_sets(tmp_path)


def test_faults_of_a_published_set_are_counted(tmp_path, save):
    make(tmp_path, save, "test/Ungood/img/1.png", "test/Ungood/label/2.png")
    problems = {problem.fault: problem.key for problem in read_set("Liver CT", tmp_path).problems}
    assert problems == {Fault.MASK_MISSING: "test/Ungood/img/1.png", Fault.IMAGE_MISSING: "test/Ungood/label/2.png"}


def test_a_set_packed_into_itself_twice_is_read_once(tmp_path, save):
    make(tmp_path, save, "yes/1.jpg", "no/2.jpg", "brain_tumor_dataset/yes/1.jpg", "brain_tumor_dataset/no/2.jpg")
    assert len(read_set("BrainMRI yes/no", tmp_path).cases) == 2


def test_own_folder_takes_sub_folders_for_patients(patient_folder):
    dataset = read_folder("own", patient_folder)
    assert dataset.units_are == "patients"
    assert len({case.unit for case in dataset.cases}) == 12
    assert len(dataset.cases) == 60
    assert dataset.notes == ("12 images have no mask beside them and count as normal.",)


def test_own_folder_can_leave_out_what_has_no_mask(patient_folder):
    dataset = read_folder("own", patient_folder, Unmasked.EXCLUDE)
    assert len(dataset.cases) == 48
    assert {problem.fault for problem in dataset.problems} == {Fault.LABEL_UNKNOWN}


def test_where_folders_are_named_normal_others_need_masks(tmp_path, save):
    make(tmp_path, save, "good/1.png", "cut/1.png", "cut/1_mask.png", "cut/2.png")
    dataset = read_folder("leather", tmp_path)
    assert [case.key for case in dataset.cases] == ["cut/1.png", "good/1.png"]
    assert [(p.fault, p.key) for p in dataset.problems] == [(Fault.LABEL_UNKNOWN, "cut/2.png")]
    assert dataset.units_are == "images"


def test_folders_give_the_labels_where_there_are_no_masks(tmp_path, save):
    make(tmp_path, save, "normal/1.png", "bleeding/2.png")
    labels = {case.key: case.is_abnormal for case in read_folder("ct", tmp_path).cases}
    assert labels == {"normal/1.png": False, "bleeding/2.png": True}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("a/1.png",), "tells nothing about what is normal"),
        ((), "holds no image"),
    ],
)
def test_folders_that_say_nothing_are_refused(tmp_path, save, files, message):
    make(tmp_path, save, *files)
    with pytest.raises(InputError, match=message):
        read_folder("own", tmp_path)


def nifti(path, value=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), value, np.float32), np.eye(4)), path)


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        (("a.nii.gz", "a_mask.nii.gz", "b.nii", "b_seg.nii"), {"a.nii.gz": "a_mask.nii.gz", "b.nii": "b_seg.nii"}),
        (("imagesTr/l1.nii.gz", "labelsTr/l1.nii.gz"), {"imagesTr/l1.nii.gz": "labelsTr/l1.nii.gz"}),
        (
            ("imagesTr/C_0000.nii.gz", "imagesTr/C_0001.nii.gz", "labelsTr/C.nii.gz"),
            {"imagesTr/C_0000.nii.gz": "labelsTr/C.nii.gz"},
        ),
        (
            (
                "sub-1/anat/sub-1_FLAIR.nii.gz",
                "sub-1/anat/sub-1_T1w.nii.gz",
                "derivatives/labels/sub-1/anat/sub-1_FLAIR_lesion-manual.nii.gz",
            ),
            {"sub-1/anat/sub-1_FLAIR.nii.gz": "derivatives/labels/sub-1/anat/sub-1_FLAIR_lesion-manual.nii.gz"},
        ),
        (("images/1_0000.nii.gz", "labels/1.nii.gz"), {"images/1_0000.nii.gz": "labels/1.nii.gz"}),
        (("P1/P1_flair.nii.gz", "P1/P1_t1.nii.gz", "P1/P1_seg.nii.gz"), {"P1/P1_flair.nii.gz": "P1/P1_seg.nii.gz"}),
        (("s1/FLAIR.nii.gz", "s1/GOLD_STANDARD.nii.gz"), {"s1/FLAIR.nii.gz": "s1/GOLD_STANDARD.nii.gz"}),
        (("image/a.nii.gz", "mask/a_seg.nii.gz"), {"image/a.nii.gz": "mask/a_seg.nii.gz"}),
        (("image_1.nii.gz", "mask_1.nii.gz"), {"image_1.nii.gz": "mask_1.nii.gz"}),
        (("imagesTr/img01.nii.gz", "labelsTr/label01.nii.gz"), {"imagesTr/img01.nii.gz": "labelsTr/label01.nii.gz"}),
        (
            ("sub-1/ses-1/sub-1_ses-1_dwi.nii.gz", "derivatives/sub-1/ses-1/sub-1_ses-1_msk.nii.gz"),
            {"sub-1/ses-1/sub-1_ses-1_dwi.nii.gz": "derivatives/sub-1/ses-1/sub-1_ses-1_msk.nii.gz"},
        ),
    ],
)
def test_volumes_are_paired_with_their_masks(tmp_path, files, pairs):
    for file in files:
        nifti(tmp_path / file)
    found = {case.key: case.mask.relative_to(tmp_path).as_posix() for case in read_volumes("v", tmp_path).cases}
    assert found == pairs


def test_the_channel_of_a_raw_data_set_is_chosen_by_its_name(tmp_path):
    for file in ("imagesTr/C_0000.nii.gz", "imagesTr/C_0001.nii.gz", "labelsTr/C.nii.gz"):
        nifti(tmp_path / file)
    facts = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "tumour": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    first, second = read_volumes("v", tmp_path), read_volumes("v", tmp_path, channel="flair")
    assert [case.key for case in first.cases + second.cases] == ["imagesTr/C_0000.nii.gz", "imagesTr/C_0001.nii.gz"]
    assert ('"T1"' in first.notes[0], "FLAIR" in first.notes[0], second.notes) == (True, True, ())
    assert first.ignore_labels == (2,)
    with pytest.raises(InputError, match=r'no channel "T2"; choose from 0 \(T1\), 1 \(FLAIR\)'):
        read_volumes("v", tmp_path, channel="T2")


@pytest.mark.parametrize("content", ["", "[]", "{not json", '{"labels": 7, "channel_names": []}'])
def test_a_damaged_dataset_json_changes_nothing(tmp_path, content):
    for file in ("imagesTr/C_0000.nii.gz", "labelsTr/C.nii.gz"):
        nifti(tmp_path / file)
    (tmp_path / "dataset.json").write_text(content)
    assert len(read_volumes("v", tmp_path).cases) == 1


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (
            ("test/good/1.png", "test/crack/2.png", "ground_truth/crack/2_mask.png", "train/good/3.png"),
            {"test/good/1.png": False, "test/crack/2.png": True},
        ),
        (
            ("good/1.png", "crack/2.png", "mask/crack/2.png"),
            {"good/1.png": False, "crack/2.png": True},
        ),
        (
            ("test/good/img/1.png", "test/ungood/img/2.png", "test/ungood/label/2.png", "train/good/3.png"),
            {"test/good/img/1.png": False, "test/ungood/img/2.png": True},
        ),
        (("images/1.png", "images/2.png", "masks/1.png"), {"images/1.png": None, "images/2.png": False}),
        (("1.png", "1_seg.png", "2.png"), {"1.png": None, "2.png": False}),
    ],
)
def test_layouts_of_others_given_as_a_folder(tmp_path, save, files, labels):
    make(tmp_path, save, *files)
    dataset = read_folder("own", tmp_path)
    assert {case.key: case.is_abnormal for case in dataset.cases} == labels
    assert sum(case.mask is not None for case in dataset.cases) == 1


def test_patterns_tell_image_and_mask_apart(tmp_path):
    for name in ("Flair.nii.gz", "T1c.nii.gz", "OTMultiClass.nii.gz"):
        nifti(tmp_path / "subject1" / name)
    with pytest.raises(InputError, match="2 images and 1 masks in one folder"):
        read_volumes("v", tmp_path)
    cases = read_volumes("v", tmp_path, ("Flair*", "OT*")).cases
    assert [case.key for case in cases] == ["subject1/Flair.nii.gz"]


def test_lits_counts_tumour_not_liver(tmp_path):
    nifti(tmp_path / "Training Batch 1" / "volume-0.nii")
    nifti(tmp_path / "Training Batch 1" / "segmentation-0.nii")
    dataset = read_set("LiTS", tmp_path)
    assert dataset.lesion_labels == (2,)
    assert dataset.is_volumes


def test_folders_inside_those_that_tell_labels_are_patients(tmp_path, save):
    places = ("normal/E1", "normal/E2", "bleed/E1")
    names = [f"{place}/{name}.png" for place in places for name in "ab"]
    make(tmp_path, save, *names)
    dataset = read_folder("ct", tmp_path)
    assert dataset.units_are == "patients"
    assert {case.key: case.unit for case in dataset.cases} == {name: name.split("/")[1] for name in names}
    flat = tmp_path / "flat"
    make(flat, save, "normal/a.png", "bleed/b.png")
    assert read_folder("ct", flat).units_are == "images"


@pytest.mark.parametrize("joint", ["_mask", "-seg", ".label"])
def test_an_image_named_as_a_mask_has_its_own(tmp_path, joint):
    for number in range(2):
        nifti(tmp_path / f"head{number}-mask.nii.gz")
        nifti(tmp_path / f"head{number}-mask{joint}.nii.gz", 1.0)
    found = read_volumes("own", tmp_path)
    assert [(case.image.name, case.mask.name) for case in found.cases] == [
        (f"head{number}-mask.nii.gz", f"head{number}-mask{joint}.nii.gz") for number in range(2)
    ]
    assert not found.problems


def test_maps_among_images_are_neither_normal_nor_abnormal(tmp_path, save):
    rng = np.random.default_rng(3)
    for number in range(2):
        save(tmp_path / "own" / f"{number}.png", rng.integers(0, 255, (9, 9)))
        save(tmp_path / "own" / f"{number}_mask.png", np.eye(9) * 255)
        save(tmp_path / "own" / f"{number}_prob.png", rng.integers(0, 255, (9, 9)))
        save(tmp_path / "healthy" / f"h{number}.png", rng.integers(0, 255, (9, 9)))
        save(tmp_path / "healthy" / f"h{number}_mask.png", np.eye(9) * 255)
    found = add_healthy(read_folder("own", tmp_path / "own"), tmp_path / "healthy")
    assert [case.image.name for case in found.cases] == ["0.png", "1.png", "h0.png", "h1.png"]
    assert [problem.fault for problem in found.problems] == [Fault.NO_IMAGE] * 4


def test_masks_named_as_such_in_a_folder_of_their_own(tmp_path, save):
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", np.eye(9) * 90)
        save(tmp_path / "masks" / f"{number}_segmentation.png", np.eye(9) * 255)
    assert [case.mask.name for case in read_folder("own", tmp_path).cases] == [
        "0_segmentation.png",
        "1_segmentation.png",
    ]
