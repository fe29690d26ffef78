/* What the machine does beside computing: speed and heat, as Linux tells. */
#ifndef STATE_H
#define STATE_H

/* Frequency, temperature and throttling now, as an object; null for what is not told. */
void state_print(const char *key);

/* Who sets the frequency of a CPU; null where nobody does. */
void governor_print(const char *key, int cpu);

#endif
