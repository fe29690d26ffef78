/* What this CPU can do, asked from the CPU itself: there may be no /proc. */
#ifndef CPU_H
#define CPU_H

/* Does it have a feature, named as /proc/cpuinfo names it, and may programs use it? 0 for a name
 * this file does not know. */
int cpu_has(const char *feature);

/* Ask the operating system for a feature that it gives only on request, for this process and its
 * later threads. 0, also for features that need no request; or an errno. */
int cpu_request(const char *feature);

#endif
