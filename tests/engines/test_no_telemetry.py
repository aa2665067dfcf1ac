"""OpenVINO and NNCF report nothing to anyone."""

import subprocess
import sys

import pytest

pytest.importorskip("openvino")


def test_openvino_does_not_load_what_reports_its_use():
    code = (
        "import sys, moeclip_med, openvino; from openvino.tools.ovc import telemetry_utils;"
        "print(telemetry_utils.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert said.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "None"]
