"""`report.html` in a real Chromium: accessible by axe's rules, and readable on a phone."""

from dataclasses import replace
from pathlib import Path

import pytest

from edgekiln.compiler.ci.page import page
from edgekiln.compiler.ci.result import Failure, GateVerdict
from tests.browser import DESKTOP, PHONE, examined, needs_browser
from tests.compiler.ci.results import result, run, trained


@needs_browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    sound = result()
    broken = replace(
        sound, id="long-name-of-a-network/x86-64-v3/int8", bundle="",
        failure=Failure(doing="check", message="y differs", hint="report it", exit_code=7),
    )  # fmt: skip
    verdict = GateVerdict(
        job=sound.id, gate="max-bytes", status="fail", message="300 bytes > 200", exit_code=11
    )
    whole = run(trained(sound), broken, verdicts=(verdict,))
    found = examined(page([whole, run(result(0.8))]), tmp_path, size)
    assert found == {"wide": 0, "violations": []}
