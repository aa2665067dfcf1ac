"""The command as a whole: help, version, start-up time, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from sentences import lacking

from moeclip_med import __version__

COMMANDS = ["score", "info", "demo", "train", "export", "calibrate", "benchmark", "weights", "batch", "pacs"]


def test_help_lists_every_command_and_says_research_only(command):
    shown = " ".join(command("--help").stdout.split())

    assert all(name in shown for name in COMMANDS)
    assert "not a medical device" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command, name):
    assert command(name, "--help").returncode == 0


def test_every_option_has_a_help_text():
    import typer

    from moeclip_med.cli.app import app

    commands, silent = [("moeclip-med", typer.main.get_command(app))], []
    for path, one in commands:
        commands += [(f"{path} {name}", child) for name, child in getattr(one, "commands", {}).items()]
        silent += [f"{path}: {option.opts[0]}" for option in one.params if not getattr(option, "help", None)]
    assert not silent


def test_version(command):
    assert command("--version").stdout.strip() == f"moeclip-med {__version__}"


def test_an_unknown_option_is_a_usage_error(command):
    done = command("score", "--no-such-option")

    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['moeclip-med', '--help']\n"
        "from moeclip_med.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'monai', 'open_clip', 'timm', 'napari', 'openvino', 'scipy', 'SimpleITK'}\n"
        "loaded = sorted(heavy & set(sys.modules))\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_output_goes_to_a_terminal_or_file_of_any_encoding(tmp_path):
    """The size of an image holds a sign that ASCII lacks, as code pages of Windows lack others."""
    nib.save(nib.Nifti1Image(np.eye(6)[..., None], np.eye(4)), tmp_path / "image.nii.gz")
    code = "import sys; sys.argv = ['moeclip-med', 'info', sys.argv[1]]\nfrom moeclip_med.cli.app import main\nmain()\n"
    words = [sys.executable, "-c", code, tmp_path / "image.nii.gz"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "6 ? 6 ? 1" in done.stdout


@pytest.mark.timed
def test_help_answers_in_less_than_half_a_second(command):
    assert min(_processor_seconds(lambda: command("--help")) for _ in range(3)) < 0.5


def _processor_seconds(action):
    """The processor's time, not the clock's, which a busy machine would stretch."""
    before = os.times()
    action()
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_a_fault_of_ours_is_exit_code_1_without_a_traceback(monkeypatch, capsys):
    from moeclip_med.cli import app as module

    def fail(**_):
        message = "a library quotes Doe^Jane"
        raise RuntimeError(message)

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(SystemExit) as ended:
        module.main()

    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert "(RuntimeError)" in shown
    assert "MOECLIP_MED_DEBUG" in shown
    assert "Doe" not in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("error", "tokens"),
    [
        (OSError(28, "No space left on device", "out/x"), ('"out/x"', "disk is full", "free space")),
        (PermissionError(13, "Permission denied", "out"), ('"out"', "no permission", "change its")),
        (MemoryError(), ("memory", "ulimit -v")),
        (ImportError("libx.so: failed to map segment from shared object"), ("libx.so", "install", "ulimit -v")),
        (ImportError(), ("library", "ulimit -v")),
    ],
)
def test_what_the_machine_refuses_is_not_our_fault(monkeypatch, capsys, error, tokens):
    from moeclip_med.cli import app as module

    def fail(**_):
        raise error

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(SystemExit) as ended:
        module.main()

    assert ended.value.code == 2
    assert lacking(capsys.readouterr().err.replace("\n", " "), *tokens) == []
