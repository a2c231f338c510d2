"""Known names: the PyTorch detectors that can be exported by name; listing them needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, tuple[str, ...]] = {
    "torchvision": (
        "ssdlite320_mobilenet_v3_large",
        "ssd300_vgg16",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn_v2",
        "keypointrcnn_resnet50_fpn",
    ),
    # Architectures, which have no weights, and some models of the hub; others of these architectures work as well.
    "transformers": (
        "detr",
        "conditional_detr",
        "deformable_detr",
        "rt_detr",
        "rt_detr_v2",
        "d_fine",
        "yolos",
        "rf_detr",
        "lw_detr",
        "facebook/detr-resnet-50",
        "facebook/detr-resnet-101",
        "microsoft/conditional-detr-resnet-50",
        "SenseTime/deformable-detr",
        "PekingU/rtdetr_r18vd",
        "PekingU/rtdetr_r50vd",
        "PekingU/rtdetr_v2_r18vd",
        "PekingU/rtdetr_v2_r50vd",
        "ustc-community/dfine-nano-coco",
        "ustc-community/dfine-small-coco",
        "hustvl/yolos-tiny",
        "hustvl/yolos-small",
        "Roboflow/rf-detr-base",
        "AnnaZhang/lwdetr_small_60e_coco",
    ),
    "effdet": (
        *(f"tf_efficientdet_{size}" for size in ("d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d7x")),
        *(f"tf_efficientdet_{size}_ap" for size in ("d0", "d1", "d2", "d3", "d4", "d5")),
        *(f"tf_efficientdet_{size}" for size in ("lite0", "lite1", "lite2", "lite3", "lite3x", "lite4")),
        *(f"efficientdet_{size}" for size in ("d0", "d1", "d2", "d3", "d4", "d5")),
        *(f"efficientdet_{size}" for size in ("q0", "q1", "q2", "w0", "es", "em", "lite0")),
        *("efficientdetv2_dt", "efficientdetv2_ds", "resdet50", "cspresdet50", "cspresdext50", "cspresdext50pan"),
        *("cspdarkdet53", "cspdarkdet53m", "mixdet_m", "mixdet_l"),
        *("mobiledetv2_110d", "mobiledetv2_120d", "mobiledetv3_large"),
    ),
    "yolox": ("yolox-nano", "yolox-tiny", "yolox-s", "yolox-m", "yolox-l", "yolox-x"),
}
"""Library → the names of its detectors."""
