/* What the machine does beside computing: speed and heat, as Linux tells. */
#ifndef STATE_H
#define STATE_H

enum { GOVERNOR_ROOM = 64 };

/* NAN for what is not told. */
typedef struct {
    double frequency_hz;  /* of CPU 0 */
    double temperature_c; /* of the hottest zone */
    double throttled;     /* 1 while a cooling device slows a CPU, else 0 */
} state_t;

state_t state_now(void);

/* Who sets the frequency of a CPU; "" where nobody does. */
void governor_of(int cpu, char governor[GOVERNOR_ROOM]);

#endif
