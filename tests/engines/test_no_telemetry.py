"""OpenVINO and NNCF report nothing to anyone, and other programs in the same process are left as they were."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")


def said(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.split()


def test_openvino_does_not_load_what_reports_its_use():
    code = (
        "import sys, moeclip_med.engines.openvino_engine; from openvino.tools.ovc import telemetry_utils;"
        "print(telemetry_utils.tm.__name__, 'openvino_telemetry' in sys.modules)"
    )
    assert said(code) == ["openvino.tools.ovc.telemetry_stub", "False"]


def test_importing_the_package_leaves_the_reporter_to_others():
    code = "import sys, moeclip_med, moeclip_med.engines; print('openvino_telemetry' in sys.modules)"
    assert said(code) == ["False"]
