"""The five industrial sets of the paper."""

from __future__ import annotations

from moeclip_med.benchmark.datasets.facts import SetFacts
from moeclip_med.industrial.datasets import MVTEC_LAYOUT, VISA_LAYOUT
from moeclip_med.model.class_names import BTAD, MVTEC_AD, RSDD, VISA

INDUSTRIAL = (
    SetFacts(
        "MVTec",
        ("MVTec", "MVTec AD", "mvtec_ad", "mvtec_anomaly_detection"),
        (MVTEC_LAYOUT,),
        1725,
        1258,
        "https://www.mvtec.com/company/research/datasets/mvtec-ad (Bergmann et al., CVPR 2019)",
        "CC BY-NC-SA 4.0",
        is_industrial=True,
        groups=15,
        prompts=MVTEC_AD,
    ),
    SetFacts(
        "VisA",
        ("VisA", "VisA_20220922"),
        (VISA_LAYOUT,),
        2162,
        1200,
        "https://github.com/amazon-science/spot-diff (Zou et al., ECCV 2022)",
        "CC BY 4.0",
        is_industrial=True,
        groups=12,
        prompts=VISA,
    ),
    SetFacts(
        "BTAD",
        ("BTAD", "BTech_Dataset_transformed", "BeanTech"),
        (MVTEC_LAYOUT,),
        741,
        290,
        "http://avires.dimi.uniud.it/papers/btad/btad.zip (Mishra et al., ISIE 2021)",
        "none stated",
        is_industrial=True,
        groups=3,
        prompts=BTAD,
    ),
    SetFacts(
        "RSDD",
        ("RSDD", "RSDDs"),
        (MVTEC_LAYOUT,),
        774,
        387,
        "Gan et al., IEEE Transactions on Instrumentation and Measurement 2017 (rail surface defects)",
        "none stated",
        is_industrial=True,
        prompts={"": RSDD},
    ),
    SetFacts(
        "DTD-Synthetic",
        ("DTD-Synthetic", "DTD_Synthetic", "DTDSynthetic"),
        (MVTEC_LAYOUT,),
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
