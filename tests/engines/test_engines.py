"""Engines are held to PyTorch's float32: maps, routing, what they say, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from engine_images import images_for
from moeclip_transforms.errors import InputError, MissingExtraError
from sentences import facts
from sklearn.metrics import roc_auc_score

from moeclip_med.engines import choice, machine, make_engine, openvino_models
from moeclip_med.engines.base import CORRELATION_FLOOR, EngineWarning, Precision
from moeclip_med.engines.openvino_models import ConversionError
from moeclip_med.engines.quantization_images import CALIBRATION_VARIABLE, CalibrationImages
from moeclip_med.engines.torch_engine import TorchEngine, fold_batch_norms, placed_copy
from moeclip_med.industrial.fields import smooth_noise

pytestmark = pytest.mark.usefixtures("cache")


HAS_BF16 = machine.torch_has_native_bf16() and machine.openvino_has_native_bf16()


needs_bf16 = pytest.mark.skipif(not HAS_BF16, reason="this processor has no bf16 arithmetic")


def reference_maps(model, images):
    with torch.inference_mode():
        return model.network(images, model.text).maps


def correlation(first, second):
    return np.corrcoef(first.numpy().ravel(), second.numpy().ravel())[0, 1]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("name", ["lite", "small_transformer"])
@pytest.mark.slow
def test_float32_scores_are_within_1e_4(engine, name, request):
    model = request.getfixturevalue(name)
    images = images_for(model)
    made = make_engine(model, engine=engine, device="cpu", precision="f32")
    assert made.name == engine
    scale = model.metadata.score_scale
    found, wanted = (scale.score(maps.numpy()) for maps in (made.run(images).maps, reference_maps(model, images)))
    assert np.abs(found - wanted).max() < 1e-4
    assert wanted.std() > 1e-3  # the images do make a difference


@pytest.mark.parametrize(("engine", "name"), [("torch", "lite"), ("openvino", "small_transformer")])
@pytest.mark.slow
def test_routing_is_given_when_wanted_and_only_then(engine, name, request):
    model = request.getfixturevalue(name)
    images = images_for(model, 3)
    made = make_engine(model, engine=engine, device="cpu", precision="f32")
    assert made.run(images).routing is None
    output = made.run(images, want_routing=True)
    with torch.inference_mode():
        wanted = model.network(images, model.text, want_routing=True).routing
    assert [level.shape for level in output.routing] == [level.shape for level in wanted]
    assert all(level.dtype == torch.uint8 for level in output.routing)
    for found, level in zip(output.routing, wanted, strict=True):
        assert (found == level).float().mean() > 0.999  # all but ties


@needs_bf16
@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "name"), [("torch", "lite"), ("torch", "small_transformer"), ("openvino", "small_transformer")]
)
def test_bf16_keeps_the_order(engine, name, request):
    model = request.getfixturevalue(name)
    images = images_for(model)
    maps = make_engine(model, engine=engine, device="cpu", precision="bf16").run(images).maps
    assert maps.dtype == torch.float32
    assert correlation(maps, reference_maps(model, images)) >= CORRELATION_FLOOR[Precision.BF16]


@needs_bf16
@pytest.mark.slow
def test_lite_runs_in_bf16_only_where_many_images_keep_their_order(lite):
    images = images_for(lite, 32)
    try:
        made = make_engine(lite, engine="openvino", precision="bf16")
    except ConversionError as refused:
        reason = str(refused)
    else:
        assert correlation(made.run(images).maps, reference_maps(lite, images)) >= CORRELATION_FLOOR[Precision.BF16]
        return
    assert reason.endswith("0.9995 is wanted; use --precision f32 or --engine torch.")


@pytest.mark.slow
def test_int8_keeps_the_order_and_is_made_of_industrial_images(small_transformer):
    made = make_engine(small_transformer, engine="openvino", precision="int8")
    images = images_for(small_transformer)
    assert correlation(made.run(images).maps, reference_maps(small_transformer, images)) >= 0.998
    assert made.description.endswith("calibrated on 32 synthetic images")
    assert (
        correlation(made.run(images).maps, reference_maps(small_transformer, images)) < 0.9999999
    )  # it is not float32


@pytest.mark.slow
def test_int8_never_rounds_queries_keys_and_values_as_one_tensor(small_transformer):
    recipe = openvino_models.ModelRecipe(small_transformer, Precision.INT8, False, 1, CalibrationImages(None, 1))
    quantised = openvino_models.quantise(openvino_models.convert(recipe), recipe)
    rounded = [op for op in quantised.get_ops() if op.get_type_name() == "FakeQuantize"]
    assert rounded
    assert max(len(op.get_output_partial_shape(0)) for op in rounded) <= 4  # five cost two fifths of the time
    (attention, *_) = [op for op in quantised.get_ops() if op.get_type_name() == "ScaledDotProductAttention"]
    sources = [given.get_source_output().get_node().get_type_name() for given in attention.inputs()]
    assert sources[:2] == ["FakeQuantize", "FakeQuantize"]


def test_an_engine_that_is_too_inexact_is_refused(small_transformer, monkeypatch):
    far_off = openvino_models.Agreement(correlation=0.9, largest=1.0)
    monkeypatch.setattr(openvino_models, "compile_model", lambda _: None)
    monkeypatch.setattr(openvino_models, "measure_agreement", lambda *_: far_off)
    with pytest.raises(ConversionError) as caught:
        make_engine(small_transformer, engine="openvino", precision="f32", threads=1)
    assert facts(caught.value) == facts(
        'model "small": its maps by OpenVINO in f32 correlate only 0.90000 with PyTorch\'s in float32, 0.99999 is '
        "wanted; use --precision f32 or --engine torch."
    )
    with pytest.warns(EngineWarning, match="OpenVINO is not used: .* PyTorch runs the model instead"):
        made = make_engine(small_transformer, precision="f32", device="cpu", threads=1)
    assert made.name == "torch"
    assert "OpenVINO is not used" in made.fallback_reason


@pytest.fixture(scope="module")
def made_defects():
    """Mirrored textures, a patch of another one on one side: images (n, 256, 256, 3) in [0, 1] and their masks."""
    images, masks = [], []
    rows, columns = np.mgrid[:256, :256]
    for index in range(16):
        rng = np.random.default_rng([99, index])
        ground, other = (smooth_noise(256, rng.uniform(1, 12), rng) for _ in range(2))
        row, column, radius = rng.integers(60, 196), rng.integers(30, 100), rng.integers(10, 24)
        mask = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        texture = 0.5 + 0.1 * np.where(mask, other + 1, ground + ground[:, ::-1])
        images.append(np.repeat(texture[..., None], 3, axis=2).clip(0, 1).astype(np.float32))
        masks.append(mask)
    return np.stack(images), np.stack(masks)


@pytest.mark.parametrize(
    ("engine", "precision"), [("openvino", "f32"), pytest.param("torch", "bf16", marks=needs_bf16)]
)
@pytest.mark.slow
def test_lite_finds_industrial_defects_as_well(lite, made_defects, engine, precision):
    images, masks = made_defects
    architecture = lite.metadata.architecture
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (architecture.mean, architecture.std))
    batch = (torch.from_numpy(images).permute(0, 3, 1, 2) - mean) / std
    side = architecture.map_size
    truth = masks.reshape(len(masks), side, 256 // side, side, 256 // side).mean(axis=(2, 4)) >= 0.5

    def auroc(maps):
        return roc_auc_score(truth.ravel(), maps.numpy().ravel())

    plain = auroc(reference_maps(lite, batch))
    assert plain > 0.8  # the data can tell good maps from bad
    made = make_engine(lite, engine=engine, device="cpu", precision=precision)
    assert abs(auroc(made.run(batch).maps) - plain) <= 0.002


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.slow
def test_float32_scores_depend_on_neither_batch_nor_threads(lite, engine):
    images, scale, threads = images_for(lite, 5), lite.metadata.score_scale, torch.get_num_threads()
    try:
        scores = [
            scale.score(torch.cat([made.run(part).maps for part in images.split(batch)]).numpy())
            for made, batch in (
                (make_engine(lite, engine=engine, device="cpu", precision="f32", threads=count), batch)
                for count, batch in ((1, 1), (1, 5), (2, 1), (2, 2), (2, 5))
            )
        ]
    finally:
        torch.set_num_threads(threads)
    for other in scores[1:]:
        assert np.abs(other - scores[0]).max() < 1e-5


def test_images_of_the_wrong_size_are_refused_by_both(small_transformer):
    size = small_transformer.metadata.architecture.image_size
    for engine in ("torch", "openvino"):
        made = make_engine(small_transformer, engine=engine, device="cpu", precision="f32")
        with pytest.raises(InputError, match=rf"images of 3 × 128 × 128 .* but the model takes 3 × {size} × {size}"):
            made.run(torch.zeros(1, 3, 128, 128))


def test_an_engine_leaves_the_loaded_network_as_it_was(lite):
    before = {name: tensor.clone() for name, tensor in lite.network.state_dict().items()}
    TorchEngine(lite, device="cpu", precision=Precision.BF16, description="")
    after = lite.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(tensor.dtype == torch.float32 for tensor in lite.network.parameters())


def test_a_copy_shares_what_it_does_not_change(small_transformer):
    copied = placed_copy(small_transformer.network, torch.device("cpu"), None)
    for first, second in zip(copied.parameters(), small_transformer.network.parameters(), strict=True):
        assert first.data_ptr() == second.data_ptr()


def test_every_batch_norm_of_lite_is_folded(lite):
    copied = placed_copy(lite.network, torch.device("cpu"), None)
    norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in copied.modules())
    assert fold_batch_norms(copied) == norms > 0
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in copied.modules())


def test_auto_says_what_it_picked_and_why(lite, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    assert make_engine(lite).description.startswith("OpenVINO ")
    picked = choice.choose(lite, engine="auto", device="auto", precision="auto")
    assert picked.precision == Precision.F32
    assert picked.reasons == (
        "no GPU that PyTorch can use",
        "OpenVINO is the faster engine on a processor",
        "float32 is fast enough for a convolutional tower",
    )


@needs_bf16
def test_auto_takes_bf16_for_a_transformer(small_transformer, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    picked = choice.choose(small_transformer, engine="auto", device="auto", precision="auto")
    assert (picked.engine, picked.precision) == ("openvino", Precision.BF16)


def test_auto_takes_half_precision_on_a_gpu(small_transformer, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cuda:0", "cpu"])
    monkeypatch.setattr(machine, "has_native_bf16", lambda _: True)
    picked = choice.choose(small_transformer, engine="auto", device="auto", precision="auto")
    assert (picked.engine, picked.device, picked.precision) == ("torch", "cuda:0", Precision.F16)
    assert choice.choose(small_transformer, engine="torch", device="cuda", precision="bf16").device == "cuda:0"


def test_without_openvino_auto_runs_pytorch_and_says_so(lite, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    monkeypatch.setattr(machine, "has_openvino", lambda: False)
    made = make_engine(lite)
    assert made.name == "torch"
    assert 'OpenVINO, several times faster, is not installed: pip install "moeclip-med[openvino]"' in made.description


def test_a_missing_extra_is_named(lite, monkeypatch):
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        make_engine(lite, engine="openvino")
    assert facts(caught.value) == facts(
        'engine "openvino" needs the package "openvino", which is not installed; '
        'run: pip install "moeclip-med[openvino]"'
    )
    with pytest.raises(MissingExtraError, match='precision "int8" needs the package "openvino"'):
        make_engine(lite, device="cpu", precision="int8")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"engine": "tensorrt"}, 'engine "tensorrt" is unknown; choose "auto", "openvino", "torch".'),
        (
            {"device": "cuda:7"},
            'device "cuda:7" is not there; this machine has "cpu": choose one of them, or auto.',
        ),
        (
            {"engine": "torch", "precision": "int8"},
            (
                'precision "int8" is not there for engine "torch" on this machine\'s "cpu", which has "f32": '
                "choose one of them, or auto."
            ),
        ),
    ],
)
def test_a_wish_that_cannot_be_met_names_what_is_there(lite, monkeypatch, wishes, message):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu"])
    monkeypatch.setattr(machine, "torch_has_native_bf16", lambda: False)
    with pytest.raises(InputError) as caught:
        make_engine(lite, **wishes)
    assert facts(caught.value) == facts(message)


def test_openvino_does_not_run_on_a_gpu(lite, monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cuda:0", "cpu"])
    with pytest.raises(InputError, match="runs on the processor"):
        make_engine(lite, engine="openvino", device="cuda")


def test_calibration_images_come_from_the_folder_that_is_named(lite, tmp_path, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(0)
    for index in range(2):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
    monkeypatch.setenv(CALIBRATION_VARIABLE, str(tmp_path))
    images = CalibrationImages.find(None, 3)
    assert images.folder == tmp_path
    batches = list(images.batches(lite.metadata.architecture))
    assert [batch.shape for batch in batches] == [(1, 3, 256, 256)] * 3
    assert images.key() != CalibrationImages(None, 3).key()
    assert str(tmp_path) not in images.describe()
    missing = CalibrationImages.find(tmp_path / "nothing", 3)
    with pytest.raises(InputError, match="does not exist"):
        missing.key()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts no process by forking")
def test_a_process_that_was_forked_too_late_is_told_instead_of_waiting_forever():
    code = (
        "import os\n"
        "from moeclip_med.engines.forked import refuse_forked_process\n"
        "def child():\n"
        "    process = os.fork()\n"
        "    if process:\n"
        "        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])\n"
        "    try:\n"
        "        refuse_forked_process()\n"
        "    except RuntimeError as error:\n"
        "        os._exit(7 if 'spawn' in str(error) else 8)\n"
        "    os._exit(0)\n"
        "print(child())\n"
        "refuse_forked_process()\n"
        "print(child())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "7"]
