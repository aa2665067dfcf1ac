"""A reader of NumPy files: `moeclip-med score image.npy -o OUT` works once it is installed."""

import numpy as np
from moeclip_transforms import FileFormat, ImageType, InputError, Series
from moeclip_transforms.assemble import make_volume
from moeclip_transforms.readers import FileReader


def scan(path):
    """Describe the file from its header; no voxel is read."""
    try:
        shape = np.load(path, mmap_mode="r").shape
    except ValueError as error:
        raise InputError(f'"{path.name}" is no NumPy file: {error}.') from error
    if len(shape) != 3:
        raise InputError(f'"{path.name}" has the shape {shape}; expected three axes, (x, y, z).')
    return Series(
        uid=path.name,
        format=FileFormat.OTHER,
        files=(path,),
        modality="",
        image_type=ImageType.PLAIN,
        study_uid="",
        shape=(*shape, 1),
        channels=1,
        reader="npy",  # the name of the entry point
    )


def read(series, *, time_point=0):
    """Read the voxels, which NumPy files give no place in the body."""
    array = np.load(series.files[0]).astype(np.float32)[None]
    return make_volume(array, np.eye(4), series, slice_axis=2, has_orientation=False)


READER = FileReader(suffixes=(".npy",), scan=scan, read=read)
