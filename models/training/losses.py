"""What a wrong answer costs: of outlines, of classes, and of boxes (task-aligned assignment, CIoU, DFL, BCE)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.training.networks.yolov8 import BINS, anchor_points

CANDIDATES = 10
"""Anchors an object may claim (Feng et al. 2021)."""


# ------------------------------------------------------------------------------------------------------------- outlines


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy plus Dice a picture; empty pictures count in both, so that silence is learnt too.

    Positive pixels are rare, hence the Dice part; the smoothing term keeps an empty picture's Dice loss near
    zero only when its predicted area is small.
    """
    logits, target = logits.float(), target.float()
    if logits.shape != target.shape:  # soft targets: a border pixel keeps its share, and with it sub-pixel edges
        target = nn.functional.avg_pool2d(target, target.shape[-1] // logits.shape[-1])
    cross = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=(1, 2, 3))
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3))
    dice = 1 - (2 * overlap + 5) / (total + 5)
    return (8 * cross + dice).mean()


# ---------------------------------------------------------------------------------------------------------------- boxes


def ciou(first: Tensor, second: Tensor) -> Tensor:
    """Complete IoU (Zheng et al. 2020) of boxes (..., 4) x0, y0, x1, y1: less for distance and another shape."""
    size_a = (first[..., 2:] - first[..., :2]).clamp(min=1e-3)
    size_b = (second[..., 2:] - second[..., :2]).clamp(min=1e-3)
    shared = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(first[..., :2], second[..., :2])
    both = shared.clamp(min=0).prod(-1)
    iou = both / (size_a.prod(-1) + size_b.prod(-1) - both)
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    apart = (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:]).pow(2).sum(-1) / 4
    angle = torch.atan(size_a[..., 0] / size_a[..., 1]) - torch.atan(size_b[..., 0] / size_b[..., 1])
    shape = 4 / math.pi**2 * angle.pow(2)
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - apart / hull.pow(2).sum(-1).clamp(min=1e-6) - weight * shape


@dataclass(frozen=True)
class Assignment:
    """For every anchor: the wanted scores [N, A, classes], the wanted box [N, A, 4], and whether it has an object."""

    scores: Tensor
    boxes: Tensor
    positive: Tensor


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, truth: Tensor) -> Assignment:
    """Give every object the anchors inside it whose score and overlap together are best.

    `scores` [N, A, classes] after the sigmoid, `boxes` [N, A, 4], `points` [A, 2], `truth` [N, M, 5]: class (-1: none)
    and box.
    """
    exists, labels, wanted = truth[..., 0] >= 0, truth[..., 0].clamp(min=0).long(), truth[..., 1:]
    inside = ((points[None, None] > wanted[:, :, None, :2]) & (points[None, None] < wanted[:, :, None, 2:])).all(-1)
    inside &= exists[..., None]
    overlap = ciou(wanted[:, :, None], boxes[:, None]).clamp(min=0) * inside
    of_class = scores.transpose(1, 2).gather(1, labels[..., None].expand(-1, -1, scores.shape[1]))
    fit = of_class.sqrt() * overlap.pow(6)
    best = fit.topk(min(CANDIDATES, fit.shape[-1]), dim=-1)
    claimed = torch.zeros_like(fit).scatter_(-1, best.indices, 1.0).bool() & inside
    # An anchor inside several objects answers for the one that it overlaps most.
    owner = torch.where(claimed, overlap + 1e-9, torch.zeros_like(overlap)).argmax(dim=1)
    positive = claimed.any(dim=1)
    mine = nn.functional.one_hot(owner, truth.shape[1]).transpose(1, 2).bool() & claimed
    fit = fit * mine
    peak_overlap, peak_fit = (overlap * mine).amax(-1, keepdim=True), fit.amax(-1, keepdim=True)
    quality = (fit * peak_overlap / (peak_fit + 1e-9)).amax(dim=1)
    label = labels.gather(1, owner)
    target = nn.functional.one_hot(label, scores.shape[-1]).float() * (quality * positive)[..., None]
    return Assignment(target, wanted.gather(1, owner[..., None].expand(-1, -1, 4)), positive)


class DetectionLoss:
    """Loss of raw outputs [N, 64 + classes, A] against truth [N, M, 5] (class or -1, x0, y0, x1, y1, input pixels)."""

    def __init__(self, size_px: tuple[int, int], *, box: float = 7.5, score: float = 0.5, bins: float = 1.5) -> None:
        """`size_px` is the input's (height, width)."""
        points, self.strides = anchor_points(size_px)
        self.points = points.T.contiguous()
        self.weights = (box, score, bins)

    def __call__(self, raw: Tensor, truth: Tensor) -> Tensor:
        """Weighted sum, averaged over the batch's object quality."""
        points, strides = self.points.to(raw.device), self.strides.to(raw.device)[None, :, None]
        bins, logits = raw[:, : 4 * BINS].float(), raw[:, 4 * BINS :].float().transpose(1, 2)
        bins = bins.view(len(raw), 4, BINS, -1).permute(0, 3, 1, 2)
        sides = bins.softmax(-1) @ torch.arange(BINS, dtype=torch.float32, device=raw.device)
        boxes = torch.cat([points - sides[..., :2] * strides, points + sides[..., 2:] * strides], dim=-1)
        given = assign(logits.detach().sigmoid(), boxes.detach(), points, truth.float())
        total = given.scores.sum().clamp(min=1.0)
        score = nn.functional.binary_cross_entropy_with_logits(logits, given.scores, reduction="sum") / total
        if not given.positive.any():
            return self.weights[1] * score
        chosen = given.positive
        weight = given.scores.sum(-1)[chosen]
        box = ((1 - ciou(boxes[chosen], given.boxes[chosen])) * weight).sum() / total
        here = points.expand(len(raw), -1, -1)[chosen]
        scale = strides.expand(len(raw), -1, 1)[chosen]
        wanted = torch.cat([here - given.boxes[chosen][:, :2], given.boxes[chosen][:, 2:] - here], dim=-1) / scale
        spread = (_between_bins(bins[chosen], wanted) * weight).sum() / total
        return self.weights[0] * box + self.weights[1] * score + self.weights[2] * spread


def _between_bins(logits: Tensor, wanted: Tensor) -> Tensor:
    """Distribution focal loss (Li et al. 2020): cross-entropy to the two bins around each distance."""
    wanted = wanted.clamp(0, BINS - 1 - 0.01)
    low = wanted.long()
    share = wanted - low
    likely = nn.functional.log_softmax(logits, dim=-1)
    left, right = likely.gather(-1, low[..., None])[..., 0], likely.gather(-1, low[..., None] + 1)[..., 0]
    return -(left * (1 - share) + right * share).mean(-1)
