"""What lies beside the bundles: sums, and what the run found, for each kind of reader."""

from pathlib import Path

from edgekiln.compiler.ci.junit import junit
from edgekiln.compiler.ci.page import page
from edgekiln.compiler.ci.publish import write_sums
from edgekiln.compiler.ci.result import RESULTS, CiResult, text_of
from edgekiln.compiler.ci.summary import summary

SUMMARY = "summary.md"


def write_documents(directory: Path, result: CiResult, baseline: CiResult | None) -> None:
    """Write all of them to a directory that holds the bundles and their papers alone."""
    write_sums(directory)  # of what is the same on every run
    (directory / SUMMARY).write_text(summary(result, baseline), encoding="utf-8")
    (directory / "junit.xml").write_bytes(junit(result))
    (directory / "report.html").write_text(page([result]), encoding="utf-8")
    # By this file a later run knows that the directory is one of ours.
    (directory / RESULTS).write_text(text_of(result), encoding="utf-8")
