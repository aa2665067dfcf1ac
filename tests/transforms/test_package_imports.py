import subprocess
import sys

import moeclip_transforms
import pytest


def test_every_public_name_can_be_loaded():
    for name in moeclip_transforms.__all__:
        assert getattr(moeclip_transforms, name) is not None
    assert dir(moeclip_transforms) == sorted(moeclip_transforms.__all__)


def test_unknown_name():
    with pytest.raises(AttributeError, match="No moeclip_transforms attribute nonsense"):
        moeclip_transforms.nonsense  # noqa: B018


def test_import_is_light():
    code = (
        "import sys, moeclip_transforms as m; m.InputError; m.Series; m.Plane; m.ImageSource; m.Affine; "
        "print([n for n in ('torch', 'monai', 'SimpleITK', 'nibabel', 'pydicom', 'scipy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scanning_dicom_needs_neither_torch_nor_monai(tmp_path, make_slice):
    make_slice().save_as(tmp_path / "image")
    code = (
        "import sys, moeclip_transforms as m; s = m.open_source(sys.argv[1]); assert len(s.series) == 1; "
        "print([n for n in ('torch', 'monai', 'SimpleITK', 'scipy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
