"""Open, score, look, save and open again in a viewer of its own; says which heavy packages its process loaded."""

import sys
import time
from pathlib import Path

import napari
import nibabel as nib
from napari_helpers import FAKE_SERVER, make_affine, make_head, open_widget
from napari_moeclip import backend
from napari_moeclip.navigation import describe_place
from qtpy.QtWidgets import QApplication

HEAVY = ("torch", "monai", "openvino", "SimpleITK")


def wait(is_done):
    end = time.monotonic() + 60
    while not is_done():
        QApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > end:
            sys.exit("a step did not end in time")


def main(folder):
    path = folder / "head.nii.gz"
    nib.save(nib.Nifti1Image(make_head(), make_affine()), path)
    viewer = napari.Viewer(show=False)
    backend._shared = process = backend.Backend([FAKE_SERVER], parent=QApplication.instance())
    viewer.open(str(path), plugin="moeclip-med")
    widget = open_widget(viewer)
    widget.choices.keep_experts.value = True
    widget.runner.run_button.click()
    wait(lambda: widget.is_idle and widget.results.isVisibleTo(widget))
    widget.results.levels.activated.emit(1)
    describe_place((3, 3, 3), widget.controller.session.origin)
    widget.save_to(str(folder / "results"), ("nifti", "csv", "json", "report", "run"), with_picture=False)
    wait(lambda: widget.runner.text.text().startswith("Saved"))
    widget.controller.files.open_run(str(folder / "results"))
    wait(lambda: widget.is_idle)
    viewer.layers["head"].save(str(folder / "copy.nii.gz"), plugin="moeclip-med")
    loaded = ", ".join(name for name in HEAVY if name in sys.modules) or "none"
    sys.stdout.write(f"loaded: {loaded}\n")
    viewer.close()
    process.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
