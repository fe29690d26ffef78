"""The page of a front: whole, without network, usable in a real Chromium on a desk and a phone."""

import html
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.search.page import front_page
from tests.browser import DESKTOP, PHONE, asked, examined, needs_browser
from tests.compiler.search.fronts import front

# Taps the dot of trial 1 and marks that of trial 3 in the table.
CHOOSE = """
const dot = document.querySelector('circle[data-trial="1"]'), box = dot.getBoundingClientRect();
dot.dispatchEvent(new MouseEvent("click", { bubbles: true,
  clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 }));
document.querySelector('input[value="3"]').click();
"""
SAY = "[...document.querySelectorAll('#chosen tr')].map((row) => row.innerText)"


def test_every_point_is_in_every_picture_and_nothing_is_fetched() -> None:
    text = front_page(front())
    for trial in (1, 2, 3, 4):
        kind = "out" if trial == 4 else "good"
        assert text.count(f'<circle class="{kind}" data-trial="{trial}"') == 3
    assert text.count('<circle class="other"') == 3
    assert "http" not in text
    assert "src=" not in text


def test_what_changed_between_neighbours_is_said_and_what_is_not_sure() -> None:
    text = html.unescape(re.sub("<[^>]+>", " ", front_page(front())))
    said = " ".join(text.split())
    assert "trial 1 → trial 2: accuracy +10.00 points, latency +100.0 %, bytes +100.0 %" in said
    assert "model.width 4 → 8" in said
    assert "no better in anything than trial 2" in said


def test_a_name_cannot_break_out_of_the_page() -> None:
    named = replace(front(), model="</script><script>alert(1)</script>")
    points = tuple(replace(p, model=named.model) for p in named.points)
    text = front_page(replace(named, points=points))
    assert "<script>alert" not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data
    assert json.loads(data[1])["points"]["1"]["model"] == named.model


@needs_browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_axe_finds_nothing_with_two_points_compared_and_the_page_fits_the_screen(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    found = examined(front_page(front()), tmp_path, size, before=CHOOSE)
    assert found == {"wide": 0, "violations": []}


@needs_browser
def test_names_without_a_blank_make_the_page_no_wider_than_a_small_phone(tmp_path: Path) -> None:
    name = "/home/somebody/projects/" + "x" * 90
    given = front()
    points = tuple(
        replace(
            point,
            model=f"{name}:make",
            bundle=f"{name}.ekb",
            why=f"beyond {name}" if point.why else "",
            options={**point.options, "quantize.exclude": f'["{point.trial}{name}"]'},
        )
        for point in given.points
    )
    long = replace(
        given, model=name, study=name, storage=f"sqlite:///{name}", data=name, points=points,
        limits=("latency < 100 µs",) * 6, warnings=(name,), target=name,
    )  # fmt: skip
    found = examined(front_page(long), tmp_path, (360, 800), before=CHOOSE)
    assert found == {"wide": 0, "violations": []}


@needs_browser
def test_two_points_that_are_chosen_are_compared(tmp_path: Path) -> None:
    said = asked(front_page(front()), tmp_path, DESKTOP, CHOOSE, SAY)
    assert isinstance(said, list)
    rows = [" ".join(str(row).split()) for row in said]
    assert rows[0] == "trial 1 trial 3 difference"
    assert "accuracy 80.00% ± 1.0 95.00% ± 1.0 +15.0 points" in rows
    assert "latency 10 µs ± 2.0 % 50 µs ± 2.0 % +400.0 %" in rows
    assert "model.width 4 12 differs" in rows
    assert not any(row.startswith("prune.ratio") for row in rows)
