"""The governor's table as C, to be compiled into a program."""

import time

from edgekiln.compiler.aot.header import comment
from edgekiln.compiler.trace.report import TraceReport
from edgekiln.runtime.text import counted


def governor_table(report: TraceReport) -> str:
    """A header with `model_costs`, the governor's table, and where it was measured; with a policy,
    and with the margins of cascades where there are any.
    """
    replayed, policy = report.replay, report.replay.policy
    rows = "".join(
        f"    {{{point.row.p50_us}, {point.row.p99_us}, {point.row.energy_uj}}}, "
        f"/* {comment(point.name)} */\n"
        for point in replayed.points
    )
    where = f"{replayed.cpu or 'an unknown processor'}, {counted(replayed.threads, 'thread')}"
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"""\
/* What a run of {comment(replayed.model)} takes at each operating point:
 * median and 99 % in us, energy in uJ (0: not measured). Measured by `edgekiln bench` on
 * {comment(where)}, {day}. */
#ifndef MODEL_COSTS_H
#define MODEL_COSTS_H

#include "governor.h"
#include "model.h"

static const model_cost_t model_costs[MODEL_POINT_COUNT] = {{
{rows}}};

static const model_policy_t model_policy = {{
    .costs = model_costs,
    .count = MODEL_POINT_COUNT,
    .warm_c = {policy.warm_c},
    .hot_c = {policy.hot_c},
    .low_percent = {policy.low_percent},
    .empty_percent = {policy.empty_percent},
    .patience = {policy.patience},
}};
{_margins(report)}
#endif
"""


def _margins(report: TraceReport) -> str:
    """The margins as a C array: what each point's answer has to lead by to stand. The dearest's is
    0, for its answer always does.
    """
    if not report.cascades:
        return ""
    first = report.cascades[0]
    codes = first.margin_codes is not None
    rows = "".join(
        f"    {each.margin_codes if codes else f'{each.margin!r}f'}, /* {comment(each.cheap)}: "
        f"{each.asked:.1%} ask on, {each.accuracy:.2%} right */\n"
        for each in report.cascades
    )
    return f"""
/* By how much a point's best score has to lead the next one, as model_sure_* is told; where it does
 * not, ask {comment(first.dear)}. Shares are of {first.n} test samples. */
static const {"int32_t" if codes else "float"} model_cascade_margins[MODEL_POINT_COUNT] = {{
    {"0" if codes else "0.0f"}, /* {comment(first.dear)} */
{rows}}};
"""
