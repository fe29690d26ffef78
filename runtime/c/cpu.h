/* What this CPU can do, asked from the CPU itself: there may be no /proc. */
#ifndef CPU_H
#define CPU_H

/* Does it have a feature, named as /proc/cpuinfo names it, and may programs use it? 0 for a name
 * this file does not know. */
int cpu_has(const char *feature);

#endif
