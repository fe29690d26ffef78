"""Traces: what their files may say, and what the runner is told of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.runtime.errors import ConfigError, EdgeKilnError, InputError
from edgekiln.runtime.trace import (
    COLUMNS,
    MAX_SPANS,
    UNKNOWN_C,
    Policy,
    TableRow,
    TraceSpan,
    read_trace,
    runner_text,
)


def written(home: Path, text: str) -> Path:
    path = home / "day.csv"
    path.write_text(text)
    return path


def test_an_empty_field_says_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, "time_s,deadline_us,temperature_c\n0,,\n1.5,700,-20\n\n")
    first, second = read_trace(path)
    assert first == TraceSpan(
        begin_s=0.0, runs=1, deadline_us=0, deadline_percent=0, energy_uj=0,
        temperature_c=UNKNOWN_C, battery_percent=100, load_percent=0,
    )  # fmt: skip
    assert (second.begin_s, second.deadline_us, second.temperature_c) == (1.5, 700, -20)


def test_a_deadline_in_percent_is_of_the_first_points_p99_rounded_up(tmp_path: Path) -> None:
    (span,) = read_trace(written(tmp_path, "time_s,deadline_percent\n0,50\n"))
    assert span.deadline_for(801) == 401
    (none,) = read_trace(written(tmp_path, "time_s,deadline_percent\n0,\n"))
    assert none.deadline_for(801) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column time_s"),
        ("seconds\n1\n", "no column time_s"),
        ("time_s\n", "no line but the header"),
        ("time_s,load\n0,1\n", "no trace has a column 'load'"),
        ("time_s,runs,runs\n0,1,1\n", "a column is there twice"),
        ("time_s,deadline_us,deadline_percent\n0,1,1\n", "give one of them"),
        ("time_s,runs\n0\n", "line 2: 1 fields under 2 names"),
        ("time_s\nnan\n", "line 2: time_s = 'nan' is no number of seconds"),
        ("time_s\n1e400\n", "is no number of seconds"),
        ("time_s\n1_0\n", "line 2: time_s = '1_0' is no number of seconds"),
        ("time_s\n\u0661\n", "is no number of seconds"),
        ("time_s\ninfinity\n", "is no number of seconds"),
        (f"time_s,runs\n0,{'9' * 5000}\n", f"runs = '{'9' * 40}…' is no whole number"),
        (f"time_s\n{'9' * 5000}\n", f"time_s = '{'9' * 40}…' is no number of seconds"),
        (f"time_s,{'x' * 5000}\n0,1\n", f"no trace has a column '{'x' * 40}…'"),
        ('time_s,runs\n0,"\n1\n"\n1,0\n', "line 5: runs = '0' is no whole number from 1"),
        ("time_s\n0\n0\n", "line 3: time_s does not rise"),
        ("time_s,runs\n0,0\n", "line 2: runs = '0' is no whole number from 1"),
        ("time_s,runs\n0,1.5\n", "runs = '1.5' is no whole number"),
        ("time_s,runs\n0,²\n", "is no whole number"),
        ("time_s,load_percent\n0,100\n", "load_percent = '100' is no whole number from 0 to 99"),
        ("time_s,temperature_c\n0,-300\n", "temperature_c = '-300'"),
        ("time_s,deadline_us\n0,4294967296\n", "deadline_us = '4294967296'"),
        ('time_s\n"0\n', "not a CSV file"),
    ],
)
def test_what_is_no_trace_is_refused_by_line_and_column(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_trace(written(tmp_path, text))
    assert "time_s, when a span begins" in (error.value.hint or "")


def test_a_trace_has_an_end(tmp_path: Path) -> None:
    lines = "\n".join(str(i) for i in range(MAX_SPANS + 1))
    with pytest.raises(InputError, match="10001 spans, a trace may have 10000"):
        read_trace(written(tmp_path, f"time_s\n{lines}\n"))
    with pytest.raises(InputError, match="o such file"):
        read_trace(tmp_path / "day.csv.gone" / "day.csv")


@given(st.binary(max_size=200))
def test_no_bytes_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    for content in (raw, b"time_s,runs\n" + raw):
        path.write_bytes(content)
        try:
            runs = [span.runs for span in read_trace(path)]
        except EdgeKilnError as error:
            runs = [bool(error.hint)]
        assert min(runs) >= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"warm_c": 80, "hot_c": 70}, "warm-c = 80 is above hot-c = 70"),
        ({"low_percent": 5, "empty_percent": 10}, "empty-percent = 10 is above low-percent = 5"),
        ({"low_percent": 101}, "low-percent = 101"),
        ({"patience": -1}, "patience = -1"),
        ({"hot_c": 40000}, "hot-c = 40000"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy(**values)


def test_conditions_that_the_policy_does_not_mind_are_told(tmp_path: Path) -> None:
    spans = read_trace(written(tmp_path, "time_s,temperature_c,battery_percent\n0,50,60\n"))
    assert len(Policy().ignored(spans)) == 2
    minding = Policy(warm_c=40, hot_c=60, low_percent=20)
    assert minding.ignored(spans) == ()


def test_the_runner_is_told_numbers_in_the_order_of_its_header(tmp_path: Path) -> None:
    columns = [name for name in COLUMNS if name != "deadline_us"]
    text = f"time_s,{','.join(columns)}\n0,9,50,7,30,80,10\n"
    spans = read_trace(written(tmp_path, text))
    policy = Policy(warm_c=1, hot_c=2, low_percent=4, empty_percent=3, patience=5)
    table = [TableRow(p50_us=80, p99_us=90, energy_uj=0), TableRow(p50_us=8, p99_us=9, energy_uj=0)]
    assert runner_text(policy, table, spans).splitlines() == [
        "1 2 4 3 5", "80 90 0", "8 9 0", "9 45 7 30 80 10",
    ]  # fmt: skip
