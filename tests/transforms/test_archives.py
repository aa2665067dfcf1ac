import gzip
import io
import shutil
import stat
import struct
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from moeclip_transforms import ArchiveLimits, InputError, isolation
from moeclip_transforms.archives import unpack


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refusal(archive, folder, limits=None):
    folder.mkdir(exist_ok=True)
    with pytest.raises(InputError) as caught:
        unpack(archive, folder, *([limits] if limits else []))
    return str(caught.value)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folders_and_names_are_kept(tmp_path):
    members = {"a/volume.mhd": b"1", "a/volume.raw": b"2", "b/IM 1": b"3"}
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(make_zip(tmp_path / "study.zip", members), folder)
    assert contents(folder) == members


def test_names_that_some_file_systems_refuse_are_changed(tmp_path):
    members = {
        "series?/im:1": b"1",
        "CON/nul.dcm": b"2",
        "console/COM1": b"5",
        "x" * 300 + ".dcm": b"3",
        "dot./a": b"4",
    }
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(make_zip(tmp_path / "study.zip", members), folder)
    unpacked = contents(folder)
    assert sorted(unpacked.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert {"series_/im_1", "_CON/_nul.dcm", "console/_COM1", "dot/a"} <= set(unpacked)
    assert max(len(part) for name in unpacked for part in name.split("/")) <= 101


def test_names_that_become_the_same_do_not_overwrite_each_other(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(make_zip(tmp_path / "study.zip", {"im?": b"1", "im*": b"2"}), folder)
    assert sorted(contents(folder).values()) == [b"1", b"2"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:\\evil", "..\\evil", "\\\\host\\share\\evil"]
)
def test_path_traversal_is_refused_and_writes_nothing(tmp_path, name):
    archive = make_zip(tmp_path / "study.zip", {"good": b"1", name: b"2"})
    assert refusal(archive, tmp_path / "out") == '"study.zip" names a place outside itself; it is not unpacked.'
    assert contents(tmp_path / "out") == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study.zip"]


def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert refusal(tmp_path / "study.zip", tmp_path / "out") == (
        '"study.zip" holds a link or special file; expected plain files only.'
    )


def test_nested_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {"inner.ZIP": b"PK"})
    assert refusal(archive, tmp_path / "out") == (
        '"study.zip" holds another archive; unpack the outer one and give the folder.'
    )


def test_encrypted_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {"image": b"1"})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", content, content.index(mark) + offset, 1)
    archive.write_bytes(content)
    assert refusal(archive, tmp_path / "out") == (
        '"study.zip" is encrypted; unpack it with its password and give the folder.'
    )


def test_zip_bomb_is_refused_before_anything_is_written(tmp_path):
    archive = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(40 * 2**20)})
    message = refusal(archive, tmp_path / "out")
    assert (
        "times its size, as zip bombs do; at most 250 times is allowed: unpack it yourself if you trust it." in message
    )
    assert contents(tmp_path / "out") == {}


def test_limits_on_size_and_number(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {f"{k}": b"x" * 10 for k in range(5)})
    assert refusal(archive, tmp_path / "out", ArchiveLimits(max_bytes=49)) == (
        '"study.zip" unpacks to more bytes than the 49 that are allowed: unpack it yourself if you trust it.'
    )
    assert refusal(archive, tmp_path / "out", ArchiveLimits(max_members=4)) == (
        '"study.zip" holds 5 files; at most 4 are unpacked: unpack it yourself if you trust it.'
    )


def test_declared_sizes_may_lie(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {"image": b"y" * 5000})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    archive.write_bytes(content)
    message = refusal(archive, tmp_path / "out", ArchiveLimits(max_bytes=100))
    assert message.startswith('"study.zip" ')
    assert sum(len(value) for value in contents(tmp_path / "out").values()) <= 100


def test_damaged_zip(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {"image": bytes(range(256)) * 20})
    archive.write_bytes(archive.read_bytes()[:60])
    assert refusal(archive, tmp_path / "out") == (
        '"study.zip" is not a readable archive (truncated header); check that it was copied whole.'
    )


def make_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("study.tar", "w"), ("study.tar.gz", "w:gz"), ("study.tgz", "w:gz"), ("s.tar.bz2", "w:bz2"), ("s.txz", "w:xz")],
)
def test_tar_archives_are_unpacked(tmp_path, name, mode):
    members = {"a/image": b"1" * 3000, "b/IM 1": b"2"}
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(make_tar(tmp_path / name, members, mode), folder)
    assert contents(folder) == members


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_a_tar_archive_reaches_no_other_folder(tmp_path, name):
    archive = make_tar(tmp_path / "study.tar", {name: b"2"}, "w")
    assert refusal(archive, tmp_path / "out") == '"study.tar" names a place outside itself; it is not unpacked.'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study.tar"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_archive_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "study.tar", "w") as archive:
        archive.addfile(info)
    assert "link or special file" in refusal(tmp_path / "study.tar", tmp_path / "out")


def test_a_tar_bomb_is_refused_before_it_is_written(tmp_path):
    archive = make_tar(tmp_path / "bomb.tar.gz", {"zeros": bytes(40 * 2**20)})
    assert "times its size, as zip bombs do" in refusal(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_limits_hold_for_tar_archives(tmp_path):
    archive = make_tar(tmp_path / "study.tar", {f"{k}": b"x" * 10 for k in range(5)}, "w")
    assert "than the 49 that are allowed" in refusal(archive, tmp_path / "out", ArchiveLimits(max_bytes=49))
    assert "at most 4 are unpacked" in refusal(archive, tmp_path / "other", ArchiveLimits(max_members=4))


def test_a_damaged_tar_archive(tmp_path):
    archive = make_tar(tmp_path / "study.tgz", {"image": bytes(range(256)) * 400})
    content = archive.read_bytes()
    for damaged in (content[: len(content) // 2], content[:40] + bytes(60) + content[100:]):
        archive.write_bytes(damaged)
        assert "is not a readable archive" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("name", [".", "./", "a/.", "", "/"])
def test_members_without_a_name_do_no_harm(tmp_path, name):
    folder = tmp_path / "out"
    folder.mkdir()
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo("image"), b"1")
        info = zipfile.ZipInfo("x")
        info.filename = name
        opened.writestr(info, b"2" if name[-1:] != "/" else b"")
    unpack(archive, folder)
    assert b"1" in contents(folder).values()


def test_a_damaged_lzma_member_is_told(tmp_path):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr("image", bytes(range(256)) * 40)
    content = bytearray(archive.read_bytes())
    content[45:80] = b"\xff" * 35
    archive.write_bytes(content)
    assert "is not a readable archive" in refusal(archive, tmp_path / "out")


def test_an_archive_larger_than_the_temporary_folder_is_told_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "_is_expendable", True)  # only this process's disk is said to be full
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 900, 100))
    archive = make_zip(tmp_path / "study.zip", {"image": b"1" * 101})
    message = refusal(archive, tmp_path / "out")
    assert "unpacks to 101 bytes" in message
    assert "has 100 bytes left" in message
    assert "TMPDIR" in message
    assert contents(tmp_path / "out") == {}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is limited on Linux alone")
def test_a_header_of_a_tar_archive_that_claims_gigabytes(tmp_path):
    """What tarfile reads whole: a member with the names of the next one."""
    header = tarfile.TarInfo("names")
    header.type, header.size = tarfile.XHDTYPE, 2 << 30
    archive = tmp_path / "study.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(128):
            file.write(bytes(16 << 20))
    assert refusal(archive, tmp_path / "out").startswith('"study.tar.gz" needs more memory to read than the 1024 MiB')


def test_folders_nested_without_end_are_refused(tmp_path):
    archive = make_zip(tmp_path / "study.zip", {"a/" * depth + "image": b"1" for depth in (1, 400, 800, 1200)})
    assert "levels deep; at most 100" in refusal(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_compressed_tar_archive_is_compared_with_its_checksum(tmp_path):
    """A stored block of deflate takes any change of its bytes; only the checksum at its end tells."""
    archive = make_tar(tmp_path / "study.tar.gz", {"image": bytes(range(256)) * 40}, "w:")
    plain = archive.read_bytes()
    content = bytearray(gzip.compress(plain, compresslevel=0))
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert "is not a readable archive (CRC check failed" in refusal(archive, tmp_path / "out")


def test_what_follows_in_a_compressed_tar_archive_is_bounded(tmp_path):
    archive = make_tar(tmp_path / "study.tar", {"image": b"1"}, "w")
    (tmp_path / "study.tgz").write_bytes(gzip.compress(archive.read_bytes() + bytes(40 << 20)))
    assert "times its size, as zip bombs do" in refusal(tmp_path / "study.tgz", tmp_path / "out")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c", "member-1", "member-1/c")])
def test_a_name_that_is_a_file_and_a_folder(tmp_path, names):
    archive = make_zip(tmp_path / "study.zip", {name: name.encode() for name in names})
    folder = tmp_path / "out"
    folder.mkdir()
    unpack(archive, folder)
    assert sorted(contents(folder).values()) == sorted(name.encode() for name in names)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2], ids=["a place before the start", "bzip2"])
def test_damage_is_no_lack_of_space_or_permission(tmp_path, method):
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("image", bytes(range(256)) * 40)
    content = bytearray(archive.read_bytes())
    if method == zipfile.ZIP_BZIP2:
        content[40:60] = b"\xff" * 20
    else:
        del content[100:5000]
    archive.write_bytes(content)
    message = refusal(archive, tmp_path / "out")
    assert "is not a readable archive" in message
    assert "permissions" not in message


def test_words_of_python_about_its_code_become_words_about_the_file(tmp_path):
    archive = make_tar(tmp_path / "study.tar", {"image": b"PATIENT" * 300}, "w")
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as opened:
        info = tarfile.TarInfo("image")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"}
        info.size = 2100
        opened.addfile(info, io.BytesIO(b"PATIENT" * 300))
    message = refusal(archive, tmp_path / "out")
    assert "PATIENT" not in message
    assert "its parts contradict each other or are cut off" in message
