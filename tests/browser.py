"""Pages in a real Chromium: what axe's rules find in them, and how wide they are."""

import json
import re
import shutil
import subprocess
from html import unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = find_spec("axe_core_python")  # its wheel brings axe.min.js
PHONE, DESKTOP = (390, 844), (1280, 900)

needs_browser = pytest.mark.skipif(
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


def examined(html: str, home: Path, size: tuple[int, int], before: str = "") -> dict[str, object]:
    """What axe finds in the page, and by how many pixels it is wider than the window; `before`: a
    script that runs first, in the page.
    """
    assert AXE is not None
    assert AXE.origin is not None
    axe = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    found: dict[str, object] = _answer(html, home, size, [before, axe, RUN_AXE])
    return found


def asked(html: str, home: Path, size: tuple[int, int], before: str, expression: str) -> object:
    """What an expression in JavaScript says of the page, after the script `before`."""
    tell = f"document.body.textContent = `ANSWER${{JSON.stringify({expression})}}ANSWER`;"
    return _answer(html, home, size, [before, tell])


def _answer(html: str, home: Path, size: tuple[int, int], scripts: list[str]) -> Any:
    assert CHROMIUM is not None
    added = "".join(f"<script>{script}</script>" for script in scripts)
    path = home / "page.html"
    path.write_text(html.replace("</body>", f"{added}</body>"), encoding="utf-8")
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home / 'user'}",
        f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=20000", "--dump-dom",
        path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search("ANSWER(.*)ANSWER", done.stdout, re.DOTALL)
    assert answer, done.stdout[-1000:] + done.stderr
    return json.loads(unescape(answer[1]))
