"""JUnit XML, which every CI server shows: a suite a cell; building, checking, gates are cases."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from edgekiln.compiler.ci.result import CellResult, CiResult, Verdict


def junit(result: CiResult) -> bytes:
    root = ET.Element("testsuites", name="edgekiln")
    for cell in result.cells:
        verdicts = [verdict for verdict in result.verdicts if verdict.cell == cell.id]
        cases = [*_work(cell), *(_gate(verdict) for verdict in verdicts)]
        counts = {
            kind: str(sum(case.find(tag) is not None for case in cases))
            for kind, tag in (("errors", "error"), ("failures", "failure"), ("skipped", "skipped"))
        }
        attributes = {"name": cell.id, "tests": str(len(cases)), **counts}
        ET.SubElement(root, "testsuite", attributes).extend(cases)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _work(cell: CellResult) -> Iterator[ET.Element]:
    failure = cell.failure
    took_s = sum(step.wall_s for step in cell.build.steps) if cell.build else 0.0
    case = _case(cell.id, "build", took_s)
    if failure:
        message = f"{failure.doing}: {failure.message}"
        ET.SubElement(
            case, "error", message=message, type=str(failure.exit_code)
        ).text = failure.hint
    yield case
    if cell.check:
        checked = _case(cell.id, "check")
        if cell.check.where == "nowhere":
            ET.SubElement(checked, "skipped", message=cell.check.reason)
        yield checked


def _gate(verdict: Verdict) -> ET.Element:
    case = _case(verdict.cell, verdict.gate)
    if verdict.failed:
        code = str(verdict.exit_code)
        ET.SubElement(case, "failure", message=verdict.message, type=code)
    elif verdict.status == "skip":
        ET.SubElement(case, "skipped", message=verdict.message)
    else:
        ET.SubElement(case, "system-out").text = verdict.message
    return case


def _case(cell: str, name: str, took_s: float = 0.0) -> ET.Element:
    return ET.Element("testcase", classname=cell, name=name, time=f"{took_s:.3f}")
