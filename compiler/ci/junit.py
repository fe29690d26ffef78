"""JUnit XML, which every CI server shows: a suite a job; building, checking, gates are cases."""

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from edgekiln.compiler.ci.result import CiResult, GateVerdict, JobResult


def junit(result: CiResult) -> bytes:
    """The XML of `junit.xml`: a suite a job, and a case for each thing that was judged."""
    root = ET.Element("testsuites", name="edgekiln")
    for job in result.jobs:
        verdicts = [verdict for verdict in result.verdicts if verdict.job == job.id]
        cases = [*_work(job), *(_gate(verdict) for verdict in verdicts)]
        counts = {
            kind: str(sum(case.find(tag) is not None for case in cases))
            for kind, tag in (("errors", "error"), ("failures", "failure"), ("skipped", "skipped"))
        }
        attributes = {"name": job.id, "tests": str(len(cases)), **counts}
        ET.SubElement(root, "testsuite", attributes).extend(cases)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _work(job: JobResult) -> Iterator[ET.Element]:
    failure = job.failure
    # Of the run that made each artifact, also where this one found it: a case has no other time.
    took_s = sum(step.wall_s for step in job.build.steps) if job.build else 0.0
    case = _case(job.id, "build", took_s)
    if failure:
        message = f"{failure.doing}: {failure.message}"
        ET.SubElement(
            case, "error", message=message, type=str(failure.exit_code)
        ).text = failure.hint
    yield case
    if job.check:
        checked = _case(job.id, "check")
        if job.check.where == "nowhere":
            ET.SubElement(checked, "skipped", message=job.check.reason)
        yield checked


def _gate(verdict: GateVerdict) -> ET.Element:
    case = _case(verdict.job, verdict.gate)
    if verdict.failed:
        code = str(verdict.exit_code)
        ET.SubElement(case, "failure", message=verdict.message, type=code)
    elif verdict.status == "skip":
        ET.SubElement(case, "skipped", message=verdict.message)
    else:
        ET.SubElement(case, "system-out").text = verdict.message
    return case


def _case(job: str, name: str, took_s: float = 0.0) -> ET.Element:
    return ET.Element("testcase", classname=job, name=name, time=f"{took_s:.3f}")
