"""Stacks of slices that choose what concerns volumes."""

import numpy as np

from moeclip_med.industrial.stacks import pan_over, simulate_stack


def texture():
    rows, columns = np.mgrid[:90, :120] / 9.0
    return (140 + 50 * np.sin(rows) + 50 * np.cos(columns)).astype(np.uint8)


def test_a_stack_over_an_image_changes_slowly_and_marks_its_defect():
    image, mask = texture(), np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    stacks = [pan_over(image, mask, 32, 12, np.random.default_rng(seed)) for seed in range(6)]
    for stack in stacks:
        assert stack.image.shape == stack.defect.shape == (12, 32, 32)
        assert stack.image.dtype == np.float32
        assert 0 <= stack.image.min() < stack.image.max() <= 1
        one_apart, six_apart = (np.abs(stack.image[3] - stack.image[3 + gap]).mean() for gap in (1, 6))
        assert one_apart < 0.7 * six_apart
        # The ellipsoid that cuts every second stack leaves no defect in air.
        assert stack.image[stack.defect].min() > 0.1
    assert all(stack.defect.any() for stack in stacks)
    in_air = [float((stack.image == 0).mean()) for stack in stacks]
    assert min(in_air) < 0.01
    assert max(in_air) > 0.1
    assert not pan_over(image, None, 32, 12, np.random.default_rng(0)).defect.any()


def test_a_stack_is_the_same_for_the_same_seed():
    image = texture()
    first, second = (pan_over(image, None, 24, 6, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)


def test_a_simulated_body_lies_in_air_and_holds_its_defects():
    rng = np.random.default_rng(3)
    crops = [rng.random((48, 48, 3), dtype=np.float32) for _ in range(2)]
    normal = simulate_stack(*crops, 24, np.random.default_rng(4), has_defect=False)
    stack = simulate_stack(*crops, 24, np.random.default_rng(4), has_defect=True)
    assert not normal.defect.any()
    assert stack.defect.any()
    assert stack.image[0, 0, 0] == 0.0
    assert stack.image[stack.defect].mean() > 0.1
