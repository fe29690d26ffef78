"""COCO's annotations and folders of masks."""

import json

import numpy as np
import pytest
from PIL import Image

from edgekiln.models import data
from edgekiln.models.tasks.boxes import corners
from edgekiln.runtime.errors import ConfigError, InputError


def pictures(folder, count=20, size=(12, 16)):
    """Gray pictures with one white rectangle each: its left, top, width and height."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    shapes = []
    for number in range(count):
        left, top = int(draw.integers(0, 9)), int(draw.integers(0, 6))
        pixels = np.full((*size, 3), 10 + number, np.uint8)
        pixels[top : top + 4, left : left + 6] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        shapes.append((left, top, 6, 4))
    return shapes


def coco(shapes, change=lambda _content: None):
    content = {
        "images": [
            {"id": 100 + n, "file_name": f"{n}.png", "width": 16, "height": 12}
            for n in range(len(shapes))
        ],
        "categories": [{"id": 7, "name": "box"}, {"id": 3, "name": "ball"}],
        "annotations": [
            {
                "id": n, "image_id": 100 + n, "category_id": 7 if n % 2 else 3, "bbox": [*shape],
                "segmentation": [[x, y, x + w - 1, y, x + w - 1, y + h - 1, x, y + h - 1]],
            }
            for n, shape in enumerate(shapes)
            for x, y, w, h in [shape]
            if n != 5  # one picture without anything
        ],
    }  # fmt: skip
    change(content)
    return json.dumps(content)


@pytest.fixture
def photos(tmp_path):
    shapes = pictures(tmp_path / "photos" / "images")
    (tmp_path / "photos" / "annotations.json").write_text(coco(shapes))
    return tmp_path / "photos"


def test_boxes_are_where_the_pictures_show_them(photos):
    loaded = data.load(str(photos))
    assert (loaded.task, loaded.classes) == ("detection", ("ball", "box"))
    assert not data.is_unlabelled(str(photos))
    for pixels, boxes in zip(loaded.train.x, loaded.train.y, strict=True):
        ys, xs = np.nonzero(pixels[..., 0] == 255)
        edges = corners(boxes[0, 1:]) * [16, 12, 16, 12]
        number = int(pixels.min()) - 10
        assert boxes[0, 0] == (-1 if number == 5 else number % 2)
        if number != 5:
            shown = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            np.testing.assert_allclose(edges, shown, atol=1e-4)


def test_shapes_become_masks_where_the_task_is_segmentation(photos):
    loaded = data.load(f"{photos}?task=segmentation")
    assert loaded.classes == ("nothing", "ball", "box")
    for pixels, mask in zip(loaded.train.x, loaded.train.y, strict=True):
        number = int(pixels.min()) - 10
        white = pixels[..., 0] == 255
        wanted = np.zeros_like(mask) if number == 5 else white * (1 + number % 2)
        np.testing.assert_array_equal(mask, wanted)


def test_parts_have_their_own_annotations(tmp_path):
    for part in ("train", "valid"):
        shapes = pictures(tmp_path / part)
        (tmp_path / part / "_annotations.coco.json").write_text(coco(shapes))
    loaded = data.load(str(tmp_path))
    assert len(loaded.val) == 20
    assert len(loaded.train) + len(loaded.test) + len(loaded.calib) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "is no COCO annotation: KeyError 'images'"),
        (
            lambda c: c["annotations"][0].update(bbox=[1, 2]),
            "annotation 0 has no bbox of 4 numbers",
        ),
        (lambda c: c["annotations"][0].update(category_id=9), "an entry lacks or misuses 9"),
        (lambda c: c["images"][0].update(file_name="x.png"), "x.png is nowhere beside it"),
        (
            lambda c: c["images"][0].update(file_name="../x.png"),
            "names ../x.png, which lies elsewhe",
        ),
    ],
)
def test_damaged_annotations_are_named(tmp_path, change, message):
    shapes = pictures(tmp_path / "images")
    path = tmp_path / "annotations.json"
    path.write_text(coco(shapes, change))
    with pytest.raises(InputError) as caught:
        data.load(str(tmp_path))
    assert caught.value.message.startswith(f"{path}: {message}")
    assert caught.value.hint


def test_boxes_are_not_cut(photos):
    assert data.load(f"{photos}?size=6x8").train.x.shape[1:] == (6, 8, 3)
    with pytest.raises(ConfigError, match="crop would cut boxes"):
        data.load(f"{photos}?crop=8")


@pytest.fixture
def street(tmp_path):
    pictures(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    for file in (tmp_path / "images").iterdir():
        white = np.asarray(Image.open(file))[..., 0] == 255
        Image.fromarray((white * 2).astype(np.uint8)).save(tmp_path / "masks" / file.name)
    (tmp_path / "classes.txt").write_text("road\nsky\ncar\n")
    return tmp_path


def test_masks_lie_beside_their_pictures_and_go_with_them(street):
    loaded = data.load(str(street))
    assert (loaded.task, loaded.classes) == ("segmentation", ("road", "sky", "car"))
    cropped = data.load(f"{street}?size=24x32&crop=12x16&color=L")
    for split in (loaded.train, cropped.train):
        assert split.x.shape[1:3] == split.y.shape[1:] == (12, 16)
        white = split.x[..., 0] > 240
        assert (split.y[white] == 2).all()
        assert white.any()


def test_a_picture_without_its_mask_is_named(street):
    (street / "masks" / "3.png").unlink()
    with pytest.raises(InputError, match=r"has no mask of 3\.png"):
        data.load(str(street))


def test_a_colored_mask_is_refused(street):
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(street / "masks" / "3.png")
    with pytest.raises(InputError, match="is a colored mask, RGB"):
        data.load(str(street))
