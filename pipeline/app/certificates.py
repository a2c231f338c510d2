"""Certificates: a file's parity certificate → why it does not hold, or its rows in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.detector.onnx_file import graph_hash
from pipeline.picture.detector_spec import DetectorSpec


def certificate_mismatch(path: Path, spec: DetectorSpec) -> str | None:
    """Why a file is not known to say what its model says, or None if it is."""
    if spec.parity is None:
        return f"{path.name} has no parity certificate: it was never verified against the original model"
    if spec.parity.get("forced"):
        return f"{path.name} failed verification against the original model, and was written with --force"
    if spec.parity.get("graph_sha256") != graph_hash(path):
        return f"the parity certificate of {path.name} was made with another version of the graph"
    return None


def rows_of(parity: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A certificate in words, by line."""
    bar = parity["bar"]
    yield "against", f"{parity['against']}, {parity['date']}"
    verdict = "met" if parity["passed"] else "NOT met" + (", written with --force" if parity["forced"] else "")
    if parity.get("largest_ap_drop") is not None:
        bound = f"at most {100 * parity['largest_ap_drop']:g} AP points lost"
    else:
        bound = (
            f"{bar['least_matched_share']:.1%} of all detections from score {bar['score_from']:g} at IoU "
            f"{bar['least_iou']:g} and {bar['largest_score_difference']:g} in score"
        )
    yield "bar", f"{verdict}: {bound}"
    edge = f", {parity['num_on_edge']} more on the edge of NMS" if parity["num_on_edge"] else ""
    yield (
        "matched",
        f"{parity['matched_share']:.2%} of {parity['num_detections']} in {parity['num_images']} images{edge}",
    )
    yield "least IoU", f"{parity['least_iou']:.5f}"
    yield "Δ score", f"{parity['largest_score_difference']:g} at most, {parity['num_class_flips']} class flips"
    if parity["least_mask_iou"] is not None:
        yield "masks", f"least IoU {parity['least_mask_iou']:.4f}"
    if parity["least_points_share"] is not None:
        yield "keypoints", f"{parity['least_points_share']:.0%} or more of each object's agree"
    if parity["accuracy"] is not None:
        accuracy = parity["accuracy"]
        yield "AP", f"{accuracy['ap']:.4f} against {accuracy['reference_ap']:.4f} ({accuracy['difference_ap']:+.4f})"
    yield from parity["devices"].items()
    yield "batches", ", ".join(map(str, parity["batch_sizes"]))
    hashes = {"images": parity["images_sha256"], "weights": parity["weights_sha256"], "graph": parity["graph_sha256"]}
    yield "SHA-256", ", ".join(f"{name} {value[:12]}…" for name, value in hashes.items() if value)
    yield "made with", ", ".join(f"{name} {version}" for name, version in parity["versions"].items())
