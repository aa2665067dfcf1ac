"""What the published runs call the classes of the industrial data sets in their prompts."""

from __future__ import annotations

MVTEC_AD = {
    "bottle": "dark bottle",
    "cable": "top view of three cables",
    "capsule": "black asd orange capsule",  # as the published runs spell it
    "carpet": "gray carpet",
    "grid": "metal or plastic mesh",
    "hazelnut": "single brown hazelnut",
    "leather": "brown leather",
    "metal_nut": "metal nut which has four notched edges",
    "pill": "oval white pill with small red speckles and the letters 'FF' engraved",
    "screw": "screw",
    "tile": "speckled tile surface",
    "transistor": "a three-legged transistor placed vertically",
    "toothbrush": "toothbrush head",
    "wood": "wood surface",
    "zipper": "a black zipper",
}

VISA = {
    "candle": "candle",
    "capsules": "capsules",
    "cashew": "cashew nut",
    "chewinggum": "chewing gum",
    "fryum": "wheel-shaped fryum snack",
    "macaroni1": "orange macaroni",
    "macaroni2": "scattered yellow macaroni",
    "pcb1": "dual ultrasonic distance sensor pcb module",
    "pcb2": "integrated circuits board",
    "pcb3": "infrared sensor pcb module",
    "pcb4": "battery charging pcb module",
    "pipe_fryum": "pipe-shaped fryum",
}

BTAD = {
    "01": (
        "Bright concentric rings in neon yellow and blue tones against a dark blue background, resembling a stylized "
        "wave or energy field radiating outward."
    ),
    "02": "vertical fabric lines in warm, dusty pink and beige tones",
    "03": "oval concentric circular rings in gradient shades of blue and white",
}

RSDD = "metal"

_ALL = MVTEC_AD | VISA | BTAD | {"RSDD": RSDD}


def class_name(category: str) -> str:
    """The name in the prompts: the published one, else the category's own with spaces for underscores."""
    return _ALL.get(category, category.replace("_", " "))
