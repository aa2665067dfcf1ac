"""Fuzz what reads bytes from outside, guided by coverage (atheris, libFuzzer's engine for Python).

    python scripts/fuzz.py readers --seconds 600 --finds finds/

An `InputError` is a right answer to broken bytes. Any other exception, a crash, more than 20 s for one input or more
than the memory limit is a find: libFuzzer writes the input to the folder of finds and ends with a code other than 0.
Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "batch"))

SUFFIXES = (".dcm", ".nii", ".nii.gz", ".mha", ".nrrd", ".png", ".tif", ".jpg", ".zip", ".hdr", ".tar", ".tar.gz", "")
SECONDS_PER_INPUT = 20
MEMORY_MEBIBYTES = 3072
LARGEST_SEED = 30_000

with atheris.instrument_imports(include=["moeclip_transforms", "moeclip_med.batch", "moeclip_med.weights.store",
                                         "moeclip_med.model.json_records", "nibabel", "pydicom"]):  # fmt: skip
    from moeclip_transforms.errors import InputError
    from moeclip_transforms.isolation import make_expendable
    from moeclip_transforms.source import open_source

    from moeclip_med.batch.pacs import dicomweb
    from moeclip_med.batch.pacs.http import IncompleteError, PacsAddress
    from moeclip_med.batch.pacs.multipart import boundary_of, save_parts
    from moeclip_med.batch.redaction import Redactor
    from moeclip_med.batch.selection import Selection
    from moeclip_med.weights.store import METADATA, read_metadata


def fuzz_readers(folder: Path, data: bytes) -> None:
    """A file of any kind: looked at, and every series of it read. The last byte chooses its suffix."""
    path = folder / f"input{SUFFIXES[data[-1] % len(SUFFIXES)] if data else ''}"
    path.write_bytes(data[:-1])
    try:
        with open_source(path) as source:
            for series in source.series[:4]:
                columns, rows, slices, _ = series.shape
                if columns * rows * slices * series.channels > 2**24:
                    continue  # a batch refuses it by its budget before it is read
                try:
                    source.read(series)
                except InputError:
                    continue
    except InputError:
        return
    finally:
        path.unlink()


def fuzz_models(folder: Path, data: bytes) -> None:
    """A model's description."""
    (folder / METADATA).write_bytes(data)
    try:
        read_metadata(folder)
    except InputError:
        return


def fuzz_dicomweb(folder: Path, data: bytes) -> None:
    """What a PACS answers: lists page by page, instances in parts, the answer to a store, the head."""
    server = dicomweb.PacsServer(PacsAddress("https://pacs.invalid/dicom-web"))
    pages = iter([data, b"[]"])

    class Answer:
        headers = {"Warning": data[:40].decode("latin-1")}  # noqa: RUF012
        status_code = 200

    connection = server._connection  # noqa: SLF001 - the line to the server is what is replaced
    connection.request = lambda *_, **__: _Opened(Answer())  # type: ignore[method-assign]
    connection.pieces = lambda *_: [next(pages, b"[]")]  # type: ignore[method-assign]
    for ask in (lambda: server.find_studies({}), lambda: server.find_series("1.2"), lambda: server.holds("1.2", "3")):
        pages = iter([data, b"[]"])
        try:
            ask()
        except InputError:
            continue
    dicomweb._store_answer(data, "1.2")  # noqa: SLF001
    boundary_of(data[:200].decode("latin-1"))
    parts = folder / "parts"
    parts.mkdir()
    try:
        list(save_parts([data[:50], data[50:]], b"b", parts))
    except IncompleteError:
        pass
    finally:
        shutil.rmtree(parts)


class _Opened:
    """An answer as a context manager."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def __enter__(self) -> object:
        return self._answer

    def __exit__(self, *_: object) -> None:
        return None


def fuzz_texts(folder: Path, data: bytes) -> None:
    """Rules of a selection, and sentences that are redacted."""
    path = folder / "rules.yaml"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        Selection.read(path)
    text = data.decode("utf-8", "replace")
    value, _, sentence = text.partition("|")
    said = Redactor([value])(f'"{value}" {sentence}')
    if "\n" in said:
        raise AssertionError("a redacted sentence has two lines")


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "readers": fuzz_readers, "models": fuzz_models, "dicomweb": fuzz_dicomweb, "texts": fuzz_texts,
}  # fmt: skip


def write_seeds(target: str, folder: Path) -> None:
    """Write inputs to start from: small real files, and one of each format that none of them has."""
    contents: list[bytes] = []
    if target == "readers":
        from mutations import made_files, real_files

        files = [path for paths in (*real_files().values(), made_files()) for path in paths]
        small = [path for path in files if path.stat().st_size <= LARGEST_SEED]
        contents += [path.read_bytes() + bytes([_suffix_number(path.name)]) for path in small]
    elif target == "models":
        from moeclip_med.weights.registry import find_folder

        contents.append((find_folder("lite") / METADATA).read_bytes())
    elif target == "dicomweb":
        contents.append(b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"Value": ["1.2.3"]}}]')
        contents.append(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--b--")
        contents.append(b'{"00081199": {"Value": [{"00081155": {"Value": ["1.2"]}}]}}')
    else:
        contents.append(b"rules: [{name: a, where: {Modality: {matches: 'C'}}, take: largest}]")
        contents.append(b'Doe^Jane|"Doe" is \'3\'; expected "Rows" 1.2.3.4.5 2024-02-29')
    for number, content in enumerate(contents):
        (folder / f"{number:05d}").write_bytes(content)


def _suffix_number(name: str) -> int:
    fitting = [suffix for suffix in SUFFIXES if suffix and name.lower().endswith(suffix)]
    return SUFFIXES.index(max(fitting, key=len, default=""))


def main() -> None:
    """Fuzz one target for so long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--finds", type=Path, default=Path("finds"), help="folder for inputs that are finds")
    arguments = parser.parse_args()
    arguments.finds.mkdir(parents=True, exist_ok=True)
    corpus, scratch = Path(tempfile.mkdtemp(prefix="fuzz-")), Path(tempfile.mkdtemp(prefix="fuzz-"))
    tempfile.tempdir = str(scratch)
    write_seeds(arguments.target, corpus)
    run = TARGETS[arguments.target]
    make_expendable()  # decoders run here, where coverage is seen

    def one(data: bytes) -> None:
        run(scratch, data)

    options = [
        sys.argv[0], str(corpus), f"-max_total_time={arguments.seconds}", f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={MEMORY_MEBIBYTES}", f"-artifact_prefix={arguments.finds.absolute()}/{arguments.target}-",
        "-print_final_stats=1", "-max_len=65536", "-verbosity=0", "-detect_leaks=0",
    ]  # fmt: skip
    for seed in sorted(corpus.iterdir()):  # loads every library before the time of an input counts
        one(seed.read_bytes())
    atheris.Setup(options, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
