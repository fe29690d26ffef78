"""The governor's table as C, to be compiled into a program."""

import time

from edgekiln.compiler.aot.header import comment
from edgekiln.runtime.replay_result import Replay
from edgekiln.runtime.text import counted


def governor_table(replayed: Replay) -> str:
    """A header with `model_costs`, `model_policy_t`'s table, and where it was measured."""
    policy = replayed.policy
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

#endif
"""
