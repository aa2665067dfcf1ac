"""Functions that a process of its own is asked to call; each goes wrong in another way."""

import os
import sys
import time

import numpy as np
from moeclip_transforms.errors import InputError


def double(values):
    return {"twice": values * 2, "process": os.getpid()}


def die():
    os.abort()


def die_of(*_):
    os.abort()


def hang(seconds=60.0):
    time.sleep(seconds)
    return seconds


def spin():
    while True:
        pass


def grow(n_bytes):
    return float(np.ones(n_bytes, np.uint8).sum())


def refuse():
    raise InputError('"a.mha" is wrong.')


def chatter():
    os.write(1, b"noise of a library")
    sys.stdout.write("more of it")
    return 7


def stumble():
    raise KeyError("missing")


def not_to_be_sent():
    return lambda: None
