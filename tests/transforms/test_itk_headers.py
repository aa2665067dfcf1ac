"""MetaImage and NRRD headers that strangers wrote: evaluated before a byte of voxels is read, in this process."""

import gzip
import os

import numpy as np
import pytest
import SimpleITK
from moeclip_transforms import Affine, InputError, open_source, read_volume

VALUES = np.random.default_rng(2).integers(0, 900, (4, 5, 6)).astype("<i2")
MHA = {
    "ObjectType": "Image", "NDims": "3", "DimSize": "6 5 4", "ElementType": "MET_SHORT", "ElementSpacing": "1 2 3",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0", "ElementDataFile": "LOCAL",
}  # fmt: skip
NRRD = {
    "type": "int16", "dimension": "3", "sizes": "6 5 4", "encoding": "raw", "endian": "little",
    "space": "left-posterior-superior", "space directions": "(1,0,0) (0,2,0) (0,0,3)", "space origin": "(0,0,0)",
}  # fmt: skip


def write_mha(path, data=None, **changes):
    fields = {**MHA, **changes}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # the last one, by definition
    header = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(header.encode() + (VALUES.tobytes() if data is None else data))
    return path


def write_nrrd(path, data=None, **changes):
    fields = {**NRRD, **{name.replace("_", " "): value for name, value in changes.items()}}
    header = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(header.encode() + b"\n" + (VALUES.tobytes() if data is None else data))
    return path


def refused(path):
    with pytest.raises(InputError) as caught:
        read_volume(path)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["mha", "mhd", "nrrd", "nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64])
def test_what_itk_writes(tmp_path, suffix, compressed, dtype):
    image = SimpleITK.GetImageFromArray(VALUES.astype(dtype))
    SimpleITK.WriteImage(image, str(tmp_path / f"a.{suffix}"), compressed)
    volume = read_volume(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), VALUES.astype(dtype).astype(np.float32))
    assert len(volume.series.files) == (2 if suffix in ("mhd", "nhdr") else 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NDims", "-1"), ("NDims", "100000"), ("NDims", "3.5"), ("DimSize", "6 5"), ("DimSize", "6 5 -4"),
        ("DimSize", "6 5 99999999999999999999"), ("ElementType", "MET_STRING"), ("ElementType", None),
        ("TransformMatrix", "1e308 0 0 0 1e308 0 0 0 1e308"), ("TransformMatrix", "nan 0 0 0 1 0 0 0 1"),
        ("TransformMatrix", "0 0 0 0 0 0 0 0 0"), ("ElementSpacing", "inf 1 1"), ("Offset", "1 2"),
        ("ElementDataFile", "LIST"), ("ElementDataFile", "/etc/hostname"), ("ElementDataFile", "../a.raw"),
        ("ElementDataFile", "%n%n%s%s%s.raw 1 3 1"), ("ElementDataFile", "C:\\a.raw"), ("ElementDataFile", "-"),
        ("ElementDataFile", "a%03d.raw 1 3 1"), ("HeaderSize", "99999999"), ("ElementNumberOfChannels", "-2"),
    ],
)  # fmt: skip
def test_metaimage_headers_that_are_wrong(tmp_path, name, value):
    assert '"a.mha"' in refused(write_mha(tmp_path / "a.mha", **{name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dimension", "-1"), ("dimension", "4"), ("sizes", "6 5 4000000000"), ("sizes", "6 5 x"), ("type", "block"),
        ("encoding", "zrl"), ("endian", "middle"), ("space_directions", "(1e308,0,0) (0,1e308,0) (0,0,1e308)"),
        ("space_directions", "(1,0,0) (1,0,0) (0,0,3)"), ("space_directions", "(1,0,0)"),
        ("space_directions", "(nan,0,0) (0,1,0) (0,0,3)"), ("byte_skip", "-7"),
        ("line_skip", "1000000"), ("data_file", "-"), ("data_file", "LIST"), ("data_file", "/etc/hostname"),
        ("data_file", "../a.raw"), ("data_file", "a%d.raw 1 4 1"),
    ],
)  # fmt: skip
def test_nrrd_headers_that_are_wrong(tmp_path, name, value):
    assert '"a.nrrd"' in refused(write_nrrd(tmp_path / "a.nrrd", **{name: value}))


@pytest.mark.parametrize("write", [write_mha, write_nrrd])
@pytest.mark.parametrize("data", [VALUES.tobytes()[:-1], VALUES.tobytes() + b"more"])
def test_more_or_fewer_voxels_than_declared(tmp_path, write, data):
    assert "240 bytes expected" in refused(write(tmp_path / "a.img3d.mha", data))


def test_a_flipped_bit_in_compressed_voxels(tmp_path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES), str(tmp_path / "a.mha"), True)
    packed = bytearray((tmp_path / "a.mha").read_bytes())
    packed[-40] ^= 0x10
    (tmp_path / "a.mha").write_bytes(packed)
    assert "damaged" in refused(tmp_path / "a.mha")
    packed = bytearray(gzip.compress(VALUES.tobytes()))
    packed[60] ^= 0x10
    assert "damaged" in refused(write_nrrd(tmp_path / "a.nrrd", bytes(packed), encoding="gzip"))
    assert "follows" in refused(
        write_nrrd(tmp_path / "b.nrrd", gzip.compress(VALUES.tobytes()) + b"junk", encoding="gzip")
    )


def test_a_few_bytes_do_not_claim_much_memory(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", gzip.compress(b""), encoding="gzip", sizes="1000 1000 100")
    assert "compressed ones can hold" in refused(path)


def test_data_files_that_are_links_or_pipes(tmp_path):
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.raw").symlink_to(tmp_path / "secret")
    assert "no regular file" in refused(write_mha(tmp_path / "set" / "a.mhd", b"", ElementDataFile="a.raw"))
    os.mkfifo(tmp_path / "set" / "b.raw")
    assert "no regular file" in refused(write_mha(tmp_path / "set" / "b.mhd", b"", ElementDataFile="b.raw"))


def test_the_data_file_counts_in_the_hash(tmp_path):
    path = write_mha(tmp_path / "a.mhd", b"", ElementDataFile="a.raw")
    (tmp_path / "a.raw").write_bytes(VALUES.tobytes())
    before = read_volume(path).source.sha256
    (tmp_path / "a.raw").write_bytes((VALUES + 1).tobytes())
    assert read_volume(path).source.sha256 != before


@pytest.mark.parametrize(
    ("write", "changes"),
    [
        (write_mha, {"TransformMatrix": None, "Offset": None}),
        (write_mha, {"AnatomicalOrientation": "???"}),
        (write_nrrd, {"space": None, "space_dimension": "3"}),
        (write_nrrd, {"space": "3D-right-handed"}),
        (write_nrrd, {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 2 3"}),
    ],
)
def test_without_anatomy_there_are_sizes_but_no_letters(tmp_path, write, changes):
    volume = read_volume(write(tmp_path / "a.mha", **changes))
    assert (volume.has_orientation, volume.has_spacing, volume.affine.spacing) == (False, True, (1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)), ("LPS", (-1, -1, 1)), ("right-anterior-superior", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
    ],
)  # fmt: skip
def test_anatomical_spaces_of_nrrd(tmp_path, space, signs):
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", space=space, space_origin="(7,8,9)"))
    expected = Affine(
        np.diag([*np.multiply(signs, (1, 2, 3)), 1.0])
        + np.pad(np.multiply(signs, (7, 8, 9))[:, None], ((0, 1), (3, 0)))
    )
    np.testing.assert_allclose(volume.affine.matrix, expected.matrix)


def test_units_of_nrrd_become_mm(tmp_path):
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", space_units='"microns" "microns" "microns"'))
    np.testing.assert_allclose(volume.affine.spacing, (0.001, 0.002, 0.003))


@pytest.mark.parametrize(
    ("sizes", "kinds", "axis"),
    [("3 6 5 4", "list domain domain domain", -1), ("6 5 4 3", "domain domain domain list", 0)],
)
def test_values_that_are_no_colours_are_time_points(tmp_path, sizes, kinds, axis):
    stored = np.stack([VALUES, VALUES + 1, VALUES + 2], axis=axis)
    directions = ["(1,0,0)", "(0,2,0)", "(0,0,3)"]
    directions.insert(0 if axis == -1 else 3, "none")
    path = write_nrrd(
        tmp_path / "a.nrrd", stored.tobytes(), dimension="4", sizes=sizes, kinds=kinds,
        space_directions=" ".join(directions),
    )  # fmt: skip
    with open_source(path) as source:
        assert source.series[0].shape == (6, 5, 4, 3)
        volume = source.read(source.series[0], time_point=2)
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), VALUES + 2)
    assert any("no colours" in note for note in volume.notes)


@pytest.mark.parametrize("encoding", ["text", "hex", "bzip2"])
def test_other_encodings_of_nrrd(tmp_path, encoding):
    import bz2

    data = {
        "text": " ".join(map(str, VALUES.ravel())).encode(),
        "hex": VALUES.tobytes().hex().encode(),
        "bzip2": bz2.compress(VALUES.tobytes()),
    }[encoding]
    volume = read_volume(write_nrrd(tmp_path / "a.nrrd", data, encoding=encoding))
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), VALUES)


def test_a_list_of_data_files_is_told_as_one(tmp_path):
    path = write_nrrd(tmp_path / "a.nhdr", data=b"", data_file="LIST\ns00.raw\ns01.raw")
    with pytest.raises(InputError, match="names a list of data files"):
        read_volume(path)


@pytest.mark.parametrize("missing", ["none", "(nan,nan,nan)"])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_missing_direction_makes_no_time_points_of_slices(tmp_path, missing, axis):
    directions = ["(1,0,0)", "(0,2,0)", "(0,0,3)"]
    directions[axis] = missing
    path = write_nrrd(tmp_path / "a.nrrd", space_directions=" ".join(directions), kinds="domain domain domain")
    volume = read_volume(path)
    assert (volume.series.shape, volume.has_orientation, volume.has_spacing) == ((6, 5, 4, 1), False, False)
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), VALUES)
    assert any("no direction" in note for note in volume.notes)


def test_a_time_axis_of_kind_domain_stays_one(tmp_path):
    path = write_nrrd(
        tmp_path / "a.nrrd",
        np.stack([VALUES, VALUES + 1]).tobytes(),
        dimension="4",
        sizes="6 5 4 2",
        kinds="domain domain domain domain",
        space_directions="(1,0,0) (0,2,0) (0,0,3) none",
    )
    with open_source(path) as source:
        assert source.series[0].shape == (6, 5, 4, 2)
