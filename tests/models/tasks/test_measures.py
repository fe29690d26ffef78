"""Each task's measure, against scikit-learn's or a definition that is written out."""

import math

import numpy as np
import pytest
from sklearn.metrics import (
    f1_score,
    jaccard_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from edgekiln.models.tasks.boxes import RECALLS
from edgekiln.models.tasks.detection import ObjectDetection
from edgekiln.models.tasks.embedding import Embedding
from edgekiln.models.tasks.heads import TASKS, heads_of
from edgekiln.models.tasks.language_modelling import LanguageModelling
from edgekiln.models.tasks.multi_label import MultiLabel
from edgekiln.models.tasks.recommendation import Recommendation
from edgekiln.models.tasks.regression import Regression
from edgekiln.models.tasks.segmentation import Segmentation
from edgekiln.models.tasks.sequence_labelling import SequenceLabelling

DRAW = np.random.default_rng(0)


def judged(task, output, target, **inputs):
    """The task's measures of an output, in two batches, as stages have them."""
    target = task.checked("here", target)
    halves = np.array_split(np.arange(len(target)), 2)
    answers = [
        task.answer([output[half]], {key: x[half] for key, x in inputs.items()}, target[half])
        for half in halves
    ]
    return task.measure(np.concatenate(answers), target)


def test_every_task_is_found_by_its_name_and_says_what_it_measures():
    assert {name: [m.heading for m in heads_of(name)[0].task.metrics] for name in TASKS} == {
        "classification": ["accuracy ↑"],
        "detection": ["mAP ↑"],
        "embedding": ["recall@1 ↑"],
        "language-modelling": ["perplexity ↓"],
        "multi-label": ["F1 ↑"],
        "recommendation": ["auc ↑", "HR@10 ↑"],
        "reconstruction": ["auc ↑"],
        "regression": ["RMSE ↓"],
        "segmentation": ["mIoU ↑"],
        "sequence-labelling": ["token accuracy ↑"],
    }


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [("rmse", root_mean_squared_error), ("mae", mean_absolute_error), ("r2", r2_score)],
)
def test_regression_measures_as_scikit_learn_does(metric, theirs):
    true = DRAW.normal(size=(50, 1)).astype(np.float32)
    told = true + DRAW.normal(scale=0.3, size=true.shape).astype(np.float32)
    (value,) = judged(Regression(metric=metric), told, true)
    assert value == pytest.approx(theirs(true, told), rel=1e-6)


def test_the_variance_told_of_several_columns_is_their_mean():
    true = DRAW.normal(size=(40, 3)) * [1, 10, 100]
    told = true + DRAW.normal(size=true.shape)
    (value,) = judged(Regression(metric="r2"), told.astype(np.float32), true.astype(np.float32))
    assert value == pytest.approx(r2_score(true, told), rel=1e-5)


def test_f1_of_several_labels_is_the_classes_mean():
    true = DRAW.integers(0, 2, (60, 5))
    logits = (true - 0.5) + DRAW.normal(scale=0.8, size=true.shape)
    (value,) = judged(MultiLabel(), logits, true)
    assert value == pytest.approx(f1_score(true, logits > 0, average="macro"))
    (strict,) = judged(MultiLabel(threshold=0.9), logits, true)
    assert strict == pytest.approx(f1_score(true, logits > math.log(9), average="macro"))


def test_a_class_that_is_nowhere_counts_nothing_as_in_scikit_learn():
    true = np.array([[1, 0], [0, 0]])
    logits = np.array([[1.0, -1.0], [-1.0, -1.0]])
    theirs = f1_score(true, logits > 0, average="macro", zero_division=0)
    assert judged(MultiLabel(), logits, true) == (theirs,)


def test_iou_is_over_the_pixels_of_all_samples_and_leaves_out_the_unknown():
    true = DRAW.integers(0, 4, (6, 8, 9)).astype(np.uint8)
    scores = DRAW.normal(size=(6, 4, 8, 9)).astype(np.float32)
    true[:, 0] = 255
    (value,) = judged(Segmentation(), scores, true)
    known = true != 255
    theirs = jaccard_score(true[known], scores.argmax(1)[known], average="macro")
    assert value == pytest.approx(theirs)


def test_the_auc_and_the_hit_rate_of_recommendations():
    users = np.repeat(np.arange(8), 25)
    liked = DRAW.integers(0, 2, 200)
    scores = np.round(liked * 0.7 + DRAW.normal(size=200), 1)  # with ties
    auc, rate = judged(Recommendation(first=5), scores[:, None], liked, user=users)
    assert auc == pytest.approx(roc_auc_score(liked, scores))
    hits = []
    for user, score, mark in zip(users, scores, liked, strict=True):
        if mark:  # its place among what its user did not like; what is equal stands before it
            rivals = scores[(users == user) & (liked == 0)]
            hits.append(np.sum(rivals >= score) < 5)
    assert rate == pytest.approx(np.mean(hits))


def test_perplexity_is_e_to_the_mean_surprise_of_all_tokens():
    logits = DRAW.normal(size=(5, 7, 11)).astype(np.float32)
    target = DRAW.integers(0, 11, (5, 7))
    target[:, -1] = -100
    (value,) = judged(LanguageModelling(), logits, target)
    surprise = []
    for row, tokens in zip(logits.astype(np.float64), target, strict=True):
        for scores, token in zip(row, tokens, strict=True):
            if token != -100:
                surprise.append(-math.log(math.exp(scores[token]) / np.exp(scores).sum()))
    assert value == pytest.approx(math.exp(np.mean(surprise)), rel=1e-6)


def test_tokens_are_judged_but_for_padding():
    logits = DRAW.normal(size=(6, 9, 3)).astype(np.float32)
    target = DRAW.integers(0, 3, (6, 9))
    target[:, 6:] = -100
    told, true = logits.argmax(-1)[:, :6].ravel(), target[:, :6].ravel()
    assert judged(SequenceLabelling(), logits, target) == (pytest.approx((told == true).mean()),)
    (f1,) = judged(SequenceLabelling(outside=0), logits, target)
    assert f1 == pytest.approx(f1_score(true, told, labels=[1, 2], average="micro"))


def test_the_nearest_other_sample_is_of_the_same_kind():
    vectors = DRAW.normal(size=(40, 6)).astype(np.float32)
    kinds = DRAW.integers(0, 3, 40)
    hits = 0
    for i in range(40):
        cosines = [
            -2 if i == j else np.dot(a := vectors[i], b := vectors[j])
            / np.linalg.norm(a) / np.linalg.norm(b)
            for j in range(40)
        ]  # fmt: skip
        hits += kinds[int(np.argmax(cosines))] == kinds[i]
    assert judged(Embedding(), vectors, kinds) == (pytest.approx(hits / 40),)


def some_boxes(pictures=12, true=3, told=6, classes=2):
    """Targets, and outputs that find some of their boxes."""
    target = np.full((pictures, true, 5), -1.0)
    output = np.zeros((pictures, told, 4 + classes))
    output[..., 4:] = -4 + DRAW.normal(size=(pictures, told, classes))
    output[..., :4] = DRAW.uniform(0.2, 0.5, (pictures, told, 4))
    for picture in range(pictures):
        for number in range(DRAW.integers(1, true + 1)):
            kind = DRAW.integers(0, classes)
            box = [*DRAW.uniform(0.3, 0.7, 2), *DRAW.uniform(0.1, 0.4, 2)]
            target[picture, number] = [kind, *box]
            output[picture, number, :4] = np.array(box) + DRAW.normal(scale=0.03, size=4)
            output[picture, number, 4 + kind] = DRAW.normal(1, 2)
    return output, target


def overlap_of(a, b):
    """Intersection over union of two boxes: center x, center y, width, height."""
    edges = [(x - w / 2, x + w / 2, y - h / 2, y + h / 2) for x, y, w, h in (a, b)]
    left, right = max(e[0] for e in edges), min(e[1] for e in edges)
    top, bottom = max(e[2] for e in edges), min(e[3] for e in edges)
    both = max(0.0, right - left) * max(0.0, bottom - top)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def average_precision_of_a_class(output, target, kind, level):
    """COCO's, box by box."""
    told = [
        (float(box[4:].max()), picture, box[:4])
        for picture, boxes in enumerate(output)
        for box in boxes
        if int(np.argmax(box[4:])) == kind
    ]
    free = {
        picture: [row[1:] for row in rows if row[0] == kind]
        for picture, rows in enumerate(target.tolist())
    }
    count = sum(map(len, free.values()))
    right, points = 0, []
    for number, (_, picture, box) in enumerate(sorted(told, key=lambda t: -t[0]), start=1):
        best = max(free[picture], key=lambda each: overlap_of(box, each), default=None)
        if best is not None and overlap_of(box, best) >= level:
            free[picture].remove(best)
            right += 1
        points.append((right / count, right / number))
    return np.mean([max((p for r, p in points if r >= at - 1e-12), default=0) for at in RECALLS])


def test_map_is_cocos():
    output, target = some_boxes()
    (half,) = judged(ObjectDetection(overlap=0.5), output, target)
    expected = [average_precision_of_a_class(output, target, kind, 0.5) for kind in (0, 1)]
    assert 0.2 < half < 1
    assert half == pytest.approx(np.mean(expected))
    (coco,) = judged(ObjectDetection(), output, target)
    levels = [0.5 + 0.05 * step for step in range(10)]
    every = [
        average_precision_of_a_class(output, target, kind, level)
        for kind in (0, 1)
        for level in levels
    ]
    assert coco == pytest.approx(np.mean(every))


def test_boxes_that_are_all_right_have_a_map_of_one():
    target = np.array([[[0, 0.5, 0.5, 0.2, 0.2], [1, 0.3, 0.3, 0.1, 0.1]]])
    output = np.array([[[0.5, 0.5, 0.2, 0.2, 5, -5], [0.3, 0.3, 0.1, 0.1, -5, 5]]])
    assert judged(ObjectDetection(), output, target) == (1.0,)
    assert judged(ObjectDetection(), output[:, :, [2, 3, 0, 1, 4, 5]], target)[0] < 0.1
