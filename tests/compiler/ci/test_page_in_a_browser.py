"""`report.html` in a real Chromium: accessible by axe's rules, and readable on a phone."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgekiln.compiler.ci.page import page
from edgekiln.compiler.ci.result import Failure, GateVerdict
from tests.compiler.ci.results import result, run, trained

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = find_spec("axe_core_python")  # its wheel brings axe.min.js
SERIOUS = ("serious", "critical")
PHONE, DESKTOP = (390, 844), (1280, 900)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or AXE is None, reason="needs Chromium and axe-core-python (extra dev)"
)

# Everything open, so that nothing is hidden from the rules; what they find becomes the document.
RUN_AXE = """
document.querySelectorAll("details").forEach((each) => { each.open = true; });
axe.run(document).then((found) => {
  const wide = Math.max(0, document.documentElement.scrollWidth - innerWidth);
  const answer = JSON.stringify({ wide, violations: found.violations.map(
    (each) => [each.impact, each.id, each.nodes.map((node) => node.html)]) });
  document.body.textContent = `ANSWER${answer}ANSWER`;
});
"""


def examined(html: str, home: Path, size: tuple[int, int]) -> dict[str, object]:
    """What axe finds in the page, and by how many pixels it is wider than the window."""
    assert CHROMIUM is not None
    assert AXE is not None
    assert AXE.origin is not None
    axe = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    script = f"<script>{axe}</script><script>{RUN_AXE}</script></body>"
    path = home / "page.html"
    path.write_text(html.replace("</body>", script), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'user'}",
        f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=20000", "--dump-dom",
        path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search("ANSWER(.*)ANSWER", done.stdout)
    assert answer, done.stdout[-1000:] + done.stderr
    found: dict[str, object] = json.loads(unescape(answer[1]))
    return found


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
