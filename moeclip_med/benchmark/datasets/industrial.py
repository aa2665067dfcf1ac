"""The five industrial sets of the paper."""

from __future__ import annotations

from moeclip_med.benchmark.datasets import layouts
from moeclip_med.benchmark.datasets.facts import SetFacts

_MVTEC_PROMPTS = {
    "bottle": "dark bottle",
    "cable": "top view of three cables",
    "capsule": "black asd orange capsule",  # so in the published runs
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
_VISA_PROMPTS = {
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
_BTAD_PROMPTS = {
    "01": (
        "Bright concentric rings in neon yellow and blue tones against a dark blue background, resembling a stylized "
        "wave or energy field radiating outward."
    ),
    "02": "vertical fabric lines in warm, dusty pink and beige tones",
    "03": "oval concentric circular rings in gradient shades of blue and white",
}

INDUSTRIAL = (
    SetFacts(
        "MVTec",
        ("MVTec", "MVTec AD", "mvtec_ad", "mvtec_anomaly_detection"),
        (layouts.MVTEC,),
        1725,
        1258,
        "https://www.mvtec.com/company/research/datasets/mvtec-ad (Bergmann et al., CVPR 2019)",
        "CC BY-NC-SA 4.0",
        is_industrial=True,
        groups=15,
        prompts=_MVTEC_PROMPTS,
    ),
    SetFacts(
        "VisA",
        ("VisA", "VisA_20220922"),
        (layouts.VISA,),
        2162,
        1200,
        "https://github.com/amazon-science/spot-diff (Zou et al., ECCV 2022)",
        "CC BY 4.0",
        is_industrial=True,
        groups=12,
        prompts=_VISA_PROMPTS,
    ),
    SetFacts(
        "BTAD",
        ("BTAD", "BTech_Dataset_transformed", "BeanTech"),
        (layouts.MVTEC,),
        741,
        290,
        "http://avires.dimi.uniud.it/papers/btad/btad.zip (Mishra et al., ISIE 2021)",
        "none stated",
        is_industrial=True,
        groups=3,
        prompts=_BTAD_PROMPTS,
    ),
    SetFacts(
        "RSDD",
        ("RSDD", "RSDDs"),
        (layouts.MVTEC,),
        774,
        387,
        "Gan et al., IEEE Transactions on Instrumentation and Measurement 2017 (rail surface defects)",
        "none stated",
        is_industrial=True,
        prompts={"": "metal"},
    ),
    SetFacts(
        "DTD-Synthetic",
        ("DTD-Synthetic", "DTD_Synthetic", "DTDSynthetic"),
        (layouts.MVTEC,),
        1304,
        947,
        "Aota et al., WACV 2023, made from https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        "none stated; DTD itself is for research",
        is_industrial=True,
        groups=12,
        prompts={"": "*"},
    ),
)
"""Rows of the table."""
