"""COCO's average precision, by faster-coco-eval: the numbers of pycocotools, ten times as fast."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

# The first six of COCO's twelve numbers, and the paper's.
MEASURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
ALL_SIZES, MOST_DETECTIONS = 0, -1  # places in COCO's arrays: of the area range, and of the detections an image

Numbers = dict[str, float | None]  # in percent; None where there is nothing to find


def average_precision(truth: dict[str, Any], detections: NDArray[np.float64]) -> tuple[Numbers, dict[str, Numbers]]:
    """AP, AP50, AP75 and AP by size; and AP, AP50 and AP75 of each class that occurs.

    truth is a dictionary in COCO's format, detections are rows (image number, x, y, width, height, score, category number).
    """
    known = COCO(truth)
    results = known.loadRes([*map(entry, detections.tolist())])
    evaluation = COCOeval_faster(known, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, ALL_SIZES, MOST_DETECTIONS]  # thresholds, recalls, classes
    names = {item["id"]: item["name"] for item in truth["categories"]}
    by_class = {}
    for place, number in enumerate(evaluation.params.catIds):
        thresholds = (precision[..., place], precision[0, :, place], precision[5, :, place])
        numbers = {name: percent(values) for name, values in zip(MEASURES, thresholds, strict=False)}
        if numbers["ap"] is not None:
            by_class[names[number]] = numbers
    return {name: percent(value) for name, value in zip(MEASURES, evaluation.stats, strict=False)}, by_class


def entry(row: Sequence[float]) -> dict[str, Any]:
    """A detection as COCO has them."""
    image, *box, score, category = row
    return {"image_id": int(image), "category_id": int(category), "bbox": box, "score": score}


def percent(values: Any) -> float | None:
    """The mean in percent of what COCO counts; its -1 stands for nothing to find."""
    counted = np.asarray(values, np.float64)
    counted = counted[counted > -1]
    return 100 * float(counted.mean()) if counted.size else None
