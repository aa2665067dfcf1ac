import pytest
import torch
from moeclip_transforms import SquareBox
from torch.nn import functional

from moeclip_med.scoring import crop
from moeclip_med.scoring.crop import Crop


@pytest.mark.parametrize(("rows", "columns"), [(12, 200), (200, 12), (90, 100)])
@pytest.mark.parametrize("shift", [0, 7])
def test_axis_by_axis_gives_the_same_as_the_whole_square(rows, columns, shift, monkeypatch):
    side = max(rows, columns) - 2 * shift
    row, column = (rows - side) // 2, (columns - side) // 2
    part = Crop.of(SquareBox(row, row + side, column, column + side), rows, columns)
    slices = torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(1))
    maps = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    made = []
    for limit in (0, 10**9):  # always axis by axis, then never
        monkeypatch.setattr(crop, "_LONG", limit)
        made.append((part.to_square(slices, 64), part.from_square(maps, outside=-1.0)))
    torch.testing.assert_close(made[0][0], made[1][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(made[0][1], made[1][1], atol=1e-5, rtol=0)
    assert made[0][1].shape == (2, 1, rows, columns)


def test_no_array_is_as_large_as_the_square_around_a_long_slice(monkeypatch):
    sizes = []
    for name in ("pad", "interpolate"):
        original = getattr(functional, name)

        def watched(*arguments, original=original, **options):
            made = original(*arguments, **options)
            sizes.append(made.numel())
            return made

        monkeypatch.setattr(functional, name, watched)
    rows, columns = 40, 20_000
    part = Crop.of(SquareBox(20 - columns // 2, 20 + columns // 2, 0, columns), rows, columns)
    back = part.from_square(part.to_square(torch.rand(1, 1, rows, columns), 64), outside=0.0)
    assert back.shape == (1, 1, rows, columns)
    assert max(sizes) <= 64 * columns
