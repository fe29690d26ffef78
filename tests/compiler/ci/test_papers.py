"""What people and CI servers read about a run."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from edgekiln.compiler.ci.compare import compare
from edgekiln.compiler.ci.junit import junit
from edgekiln.compiler.ci.page import page
from edgekiln.compiler.ci.result import Failure, GateVerdict, parse, text_of
from edgekiln.compiler.ci.summary import LIMIT, summary
from edgekiln.compiler.cli.documents import DOCUMENTS
from edgekiln.compiler.documents.json_schema import document_schema
from edgekiln.compiler.packaging.report import Score
from edgekiln.compiler.stages.check import BundleCheck
from edgekiln.runtime.codec import encode
from edgekiln.runtime.errors import InputError
from tests.compiler.ci.results import (
    DIGIT,
    INK,
    LADDER,
    RMSE,
    bench,
    controlled,
    result,
    run,
    trained,
)

FAILED = GateVerdict(
    job=result().id, gate="max-bytes", status="fail", message="3 > 2", exit_code=11
)
NOISE = GateVerdict(
    job=result().id, gate="max-slowdown", status="noise", message="inside the noise"
)
BROKEN = result(failure=Failure(doing="check", message="y differs", hint="", exit_code=7))


def test_results_are_read_as_they_were_written() -> None:
    written = run(result(), verdicts=(FAILED, NOISE))
    assert parse(text_of(written), "results.json") == written


def before_tasks(text: str) -> str:
    """Results as they were when every score was an accuracy, an AUC or an agreement."""
    document = json.loads(text)
    document["schema"] = "edgekiln.ci/3"
    for job in document["jobs"]:
        for step in (job["build"] or {"steps": ()})["steps"]:
            del step["further_scores"]
            for key in ("unit", "better", "share", "head"):
                del step["score"][key]
    return json.dumps(document)


def test_results_of_the_earlier_schemas_are_still_read() -> None:
    """It called the jobs cells: the baseline of a run may lie in a commit of then."""
    written = run(result(), replace(BROKEN, id="net/x/int8"), verdicts=(FAILED, NOISE))
    text = before_tasks(text_of(written))
    assert parse(text, "results.json") == written
    cells = text.replace('"jobs":', '"cells":').replace('"job":', '"cell":')
    assert parse(cells.replace("edgekiln.ci/3", "edgekiln.ci/2"), "results.json") == written


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"schema": "edgekiln.ci/1"}',
        '{"schema": "edgekiln.ci/2"}',
        '{"schema": "edgekiln.ci/2", "cells": [], "verdicts": [3]}',
        '{"schema": "edgekiln.ci/3", "jobs": 3}',
    ],
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^x\.json: not results of a run: "):
        parse(text, "x.json")


def test_results_and_comparisons_are_what_their_schemas_say(tmp_path: Path) -> None:
    written = run(result(joules=1e-6), verdicts=(FAILED, NOISE))
    (tmp_path / "a.json").write_text(text_of(written))
    (tmp_path / "b.json").write_text(text_of(run(BROKEN)))
    compared = encode(compare(tmp_path / "a.json", tmp_path / "b.json"))
    for name, document in (
        ("edgekiln.ci/4", json.loads(text_of(written))),
        ("edgekiln.compare/1", {"schema": "edgekiln.compare/1", **compared}),
    ):
        jsonschema.validate(document, document_schema(name, DOCUMENTS[name]))


def test_the_summary_shows_what_changed_and_by_how_much() -> None:
    before = run(result(0.9, arena=1000))
    now = run(result(0.91, arena=1100, bench=bench((80, 80, 81, 80, 80))))
    row = summary(now, before).splitlines()[4]
    assert row == (
        "| ✅ | `net/x86-64-v3/int8` | 91.00% ▲ +1.00 pp | 400 | 80.0 µs ▼ -20.0% | 300 B = "
        "| 1.1 KiB ▲ +10.0% |"
    )


def test_the_papers_show_each_tasks_metric_and_which_way_is_better() -> None:
    worse = result(score=replace(RMSE, value=0.25))
    text = summary(run(worse), run(result(score=RMSE)))
    assert text.splitlines()[2] == "| | job | RMSE, mm ↓ | n | latency | program | arena |"
    assert "| 0.25 mm ▲ +25.0% | 400 |" in text
    assert "accuracy" not in text.lower()
    heads = result(score=DIGIT, further=(INK,))
    assert "| digit accuracy 90.00% =<br>ink RMSE 0.2 mm = | 400 |" in summary(
        run(heads), run(heads)
    )
    drawn = page([run(heads), run(heads)])
    assert "Ink rmse 0.2 mm on 400 held-out samples; lower is better." in drawn
    assert "ink RMSE, mm ↓" in drawn


def test_the_page_shows_what_accuracy_control_did_and_what_it_cost() -> None:
    written = run(controlled())
    assert parse(text_of(written), "results.json") == written
    text = page([written])
    Html(text)
    assert "may lose 0.5 of accuracy: the steps, on 500 validation samples" in text
    assert "Layers in float cost 10.0 µs a call and 50 bytes." in text
    assert "&lt;stem&gt;" in text  # the sensitivity of each layer
    assert "width:90.91%" in text  # which makes ten elevenths of the noise
    assert "Sensitivity" not in page([run(result())])


def test_the_page_shows_the_signal_that_accuracy_control_was_to_keep() -> None:
    rungs = [replace(each, least_db=each.sqnr_db - 1.5) for each in LADDER.rungs]
    held = replace(LADDER, limits={}, min_sqnr_db=25.0, rungs=tuple(rungs))
    text = page([run(controlled(held))])
    assert "keeps 25 dB of signal: the steps, on 500 validation samples" in text
    shown = [">9.5 dB<", ">30.0 dB<", ">8.0 dB<", ">28.5 dB<"]
    assert [each in text for each in shown] == [False, False, True, True]


def test_the_summary_begins_with_what_fails_and_folds_the_rest_away() -> None:
    text = summary(run(BROKEN, verdicts=(FAILED, NOISE)), None)
    assert text.startswith(
        "### EdgeKiln: 1 bundle, **1 failed, 1 gate missed**\n\n"
        "- ❌ `net/x86-64-v3/int8` check: y differs\n"
        "- ❌ `net/x86-64-v3/int8` max-bytes: 3 \\> 2\n"
    )
    assert text.index("<details>") < text.index("inside the noise")


def test_the_summary_fits_a_comment_however_many_jobs_fail() -> None:
    many = [replace(BROKEN, id=f"net{index}/x/int8") for index in range(3000)]
    assert len(summary(run(*many), None)) <= LIMIT + 10


def test_names_from_a_model_become_no_markup() -> None:
    failure = Failure(doing="build", message="layer '<b>|x`'", hint="", exit_code=4)
    assert "layer '\\<b\\>\\|x\\`'" in summary(run(result(failure=failure)), None)
    assert "<b>" not in page([run(result(failure=failure))])


def test_junit_has_a_suite_a_job_and_a_case_for_everything_that_was_judged() -> None:
    unrun = result(check=BundleCheck(where="nowhere", reason="runs on aarch64"))
    root = ET.fromstring(
        junit(run(replace(unrun, failure=BROKEN.failure), verdicts=(FAILED, NOISE)))
    )
    (suite,) = root
    assert suite.attrib == {
        "name": "net/x86-64-v3/int8", "tests": "4", "errors": "1", "failures": "1", "skipped": "1",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ["build", "check", "max-bytes", "max-slowdown"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib == {"message": "3 > 2", "type": "11"}


class Html(HTMLParser):
    """Collects what a page refers to, and checks that its tags are closed in turn."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset") and value:
                self.references.append(value)
            if name == "id" and value:
                self.ids.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing to close."""

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_the_page_stands_alone_and_every_link_leads_somewhere() -> None:
    html = Html(page([run(result(), verdicts=(FAILED,))]))
    papers = {f"net-x86-64-v3-int8.ekb{suffix}" for suffix in ("", ".cdx.json", ".intoto.json")}
    anchors = {f"#{name}" for name in html.ids}
    assert set(html.references) <= papers | anchors
    assert len(html.ids) == len(set(html.ids))


def test_the_page_shows_earlier_results_as_lines() -> None:
    now, before = run(result(0.9)), run(result(0.8))
    text = page([now, before])
    assert "80.00% → 90.00%" in text
    assert '<polyline points="0.0,60.0 300.0,0.0"/>' in text
    assert "polyline points" not in page([now])


def test_a_score_of_fewer_samples_says_so_and_is_held_against_none_of_more() -> None:
    emulated = Score(value=0.95, metric="accuracy", unit="%", n=159, of=1400)
    now, before = run(result(score=emulated)), run(result(0.9))
    row = summary(now, before).splitlines()[4]
    assert "| 95.00%, was of 400 | 159 of 1,400 |" in row
    text = page([now, before])
    assert '<td class="n" data-value="159">159 of 1,400</td>' in text
    assert "Accuracy 95.00% on 159 of 1,400 held-out samples" in text
    assert "90.00% → 95.00%" not in text
    assert "90.00% → 95.00%" in page([run(result(0.95)), before])


def test_the_page_draws_training_and_the_teacher_it_is_held_against() -> None:
    job = trained(result())
    text = page([run(job)])
    drawn = dict(re.findall(r'<polyline class="(\w+)" points="([^"]+)"', text))
    assert "Training, compile: student" in text
    assert 'aria-label="accuracy by epoch, at the end val 0.9, teacher 0.95"' in text
    assert 'aria-label="learning rate by epoch, at the end 0.003333"' in text
    # The teacher's line is level, and the student's ends below it: up is less in a picture.
    heights = [float(point.split(",")[1]) for point in drawn["teacher"].split()]
    assert len(set(heights)) == 1
    assert "<polyline class" not in page([run(result())])
    assert parse(text_of(run(job)), "x").jobs == (job,)
