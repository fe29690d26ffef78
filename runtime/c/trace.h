/* A day in the life of a program with several operating points, run by run: once as the governor
 * chooses, and once at each point alone.
 *
 * The file says in whole numbers, apart by blanks or lines:
 *     warm_c hot_c low_percent empty_percent patience       the policy, as in governor.h
 *     p50_us p99_us energy_uj                               of each point
 *     runs deadline_us energy_uj temperature_c battery_percent load_percent
 *                                                           of each span, and so on to its end
 */
#ifndef TRACE_H
#define TRACE_H

#include "args.h"

void trace(const args_t *args);

#endif
