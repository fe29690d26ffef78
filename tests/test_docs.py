"""The documentation: built as CI builds it, read in a browser, and compared with the program."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from edgekiln.compiler.cli.group import edgekiln
from tests.readme import ROOT

DOCS = ROOT / "docs"
# What people read. docs/operators.md is generated, and has its own test.
TEXTS = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(
    r"`((?:benchmarks|compiler|docs|examples|models|runtime|targets|tests)/[\w./-]+)`"
)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = find_spec("axe_core_python")  # its wheel brings axe.min.js
PAGES = ("index", "operators", "contributing", "howto/data", "reference/cli", "reference/targets")
PHONE, DESKTOP = (390, 844), (1280, 900)
# What the rules find, and by how much the page is wider than the window, becomes the document.
RUN_AXE = """
addEventListener("load", () => axe.run(document.querySelector("main")).then((found) => {
  const wide = Math.max(0, document.documentElement.scrollWidth - innerWidth);
  const answer = JSON.stringify({ wide, violations: found.violations.filter(
    (each) => ["serious", "critical"].includes(each.impact)).map(
    (each) => [each.id, each.nodes.map((node) => node.html)]) });
  document.body.textContent = `ANSWER${answer}ANSWER`;
}));
"""


def fenced(*languages: str) -> Iterator[tuple[str, str]]:
    """Page and text of each code block in one of these languages."""
    for path in TEXTS:
        for indent, language, text in FENCE.findall(path.read_text(encoding="utf-8")):
            if language in languages:
                yield path.name, re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def test_buffers_in_c_have_the_room_that_kernels_read_past_their_end() -> None:
    blocks = [*fenced("c"), *FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))]
    lines = [line for *_, text in blocks for line in text.splitlines() if "_Alignas" in line]
    buffers = [line for line in lines if " arena[" not in line]
    assert len(buffers) > 8
    assert [line for line in buffers if "MODEL_OVERREAD_BYTES" not in line] == []


# A page may show one twice.
COMMANDS = [
    *dict.fromkeys(
        (page, line)
        for page, text in fenced("sh")
        for line in text.replace("\\\n", " ").splitlines()
        if line.startswith("edgekiln ")
    )
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` writes it, where no proxy leads to any network."""
    if find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    home = tmp_path_factory.mktemp("docs") / "site"
    offline = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", home],
        cwd=ROOT, env={**os.environ, **offline, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    for page in ("index", "quick-start", "operators", "contributing", "reference/python"):
        assert (site / f"{page}.html").is_file()


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    fetched = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>")
    assert {page.name: fetched.findall(page.read_text()) for page in pages} == {
        page.name: [] for page in pages
    }


def test_references_name_every_command_and_every_target(site: Path) -> None:
    headings = re.compile(r'<h2 id="([^"]+)"')
    commands = headings.findall((site / "reference" / "cli.html").read_text())
    named = edgekiln.list_commands(click.Context(edgekiln))
    assert {f"edgekiln-{name}" for name in named} < set(commands)
    targets = headings.findall((site / "reference" / "targets.html").read_text())
    assert set(targets) == {path.stem for path in (ROOT / "targets" / "profiles").glob("*.toml")}


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_of_the_pages_have_the_options_they_show(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    context = click.Context(edgekiln, info_name=page)
    command = edgekiln.get_command(context, name)
    assert command is not None, f"no command {name}"
    while isinstance(command, click.Group):
        subcommand, *arguments = arguments
        command = command.get_command(context, subcommand)
        assert command is not None, f"no command {name} {subcommand}"
    command.make_context(name, arguments)  # raises click.UsageError for what it does not know


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_files_that_a_page_names_exist(path: Path) -> None:
    named = set(PATH.findall(path.read_text(encoding="utf-8")))
    missing = [
        name for name in named if not re.search("[A-Z]{2}", name) and not (ROOT / name).exists()
    ]
    assert missing == []


def test_toml_and_python_of_the_pages_can_be_read() -> None:
    tables = [tomllib.loads(text) for _, text in fenced("toml")]
    programs = [compile(text, page, "exec") for page, text in fenced("python")]
    assert len(tables) > 5
    assert len(programs) > 1


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served, each page with the rules in it."""
    if CHROMIUM is None or AXE is None or AXE.origin is None:
        pytest.skip("needs Chromium and axe-core-python (extra dev)")
    axe = Path(AXE.origin).with_name("axe.min.js").read_text(encoding="utf-8")
    for page in PAGES:
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        script = f"<script>{axe}</script><script>{RUN_AXE}</script></body>"
        (site / f"{page}.html").write_text(text.replace("</body>", script), encoding="utf-8")
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable_and_no_wider_than_the_screen(
    page: str, size: tuple[int, int], address: str, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=20000", "--dump-dom",
        f"{address}/{page}.html",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search("ANSWER(.*)ANSWER", done.stdout)
    assert answer, done.stdout[-1000:] + done.stderr
    assert json.loads(unescape(answer[1])) == {"wide": 0, "violations": []}
