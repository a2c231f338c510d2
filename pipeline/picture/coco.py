"""COCO: the names of its classes, in the two orders in which detectors number them."""

from __future__ import annotations

COCO_80 = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
    handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
    surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
    broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors,
    teddy bear, hair drier, toothbrush""".replace("\n    ", " ").split(", ")
)

_UNUSED_IDS = frozenset((12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
_names = iter(COCO_80)
COCO_91 = tuple("N/A" if category_id in _UNUSED_IDS else next(_names) for category_id in range(1, 91))
"""The names of COCO's category ids 1 to 90, of which ten were never used; with a background that makes 91."""

EITHER_COCO = tuple(
    name if COCO_80[index : index + 1] == (name,) else f"class {index}" for index, name in enumerate(COCO_91)
)
"""The names of 90 classes of which nobody says whether they are COCO's 80 or its category ids: where both agree."""
UNUSED_CLASSES = frozenset(category_id - 1 for category_id in _UNUSED_IDS)
"""Places in `COCO_91` that no detector of COCO's category ids ever finds."""
