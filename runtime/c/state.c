#include "state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_ZONES = 64, WORD = GOVERNOR_ROOM };
static const char CPU[] = "/sys/devices/system/cpu/cpu%d/cpufreq/%s";

/* Returns whether there was a word to read. */
static int read_word(const char *path, char word[WORD]) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int found = fscanf(file, "%63s", word) == 1;
    fclose(file);
    return found;
}

static int read_number(const char *path, double *value) {
    char word[WORD];
    return read_word(path, word) && sscanf(word, "%lf", value) == 1;
}

/* Of the hottest zone. */
static double temperature(void) {
    double hottest = NAN;
    for (int zone = 0; zone < MAX_ZONES; zone++) {
        char path[128];
        double millidegrees;
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
        if (read_number(path, &millidegrees)) hottest = fmax(hottest, millidegrees / 1000);
    }
    return hottest; /* fmax takes the number where one of two is NAN */
}

/* The devices that cool by slowing: "cpufreq-…" on Arm, "Processor" with ACPI. */
static double throttled(void) {
    double found = NAN;
    for (int device = 0; device < MAX_ZONES; device++) {
        char path[128], type[WORD];
        double level;
        snprintf(path, sizeof path, "/sys/class/thermal/cooling_device%d/type", device);
        if (!read_word(path, type)) continue;
        if (strncmp(type, "cpufreq-", 8) != 0 && strcmp(type, "Processor") != 0) continue;
        snprintf(path, sizeof path, "/sys/class/thermal/cooling_device%d/cur_state", device);
        if (read_number(path, &level)) found = fmax(found, level > 0);
    }
    return found;
}

state_t state_now(void) {
    char path[128];
    double kilohertz;
    snprintf(path, sizeof path, CPU, 0, "scaling_cur_freq");
    return (state_t){
        .frequency_hz = read_number(path, &kilohertz) ? kilohertz * 1000 : NAN,
        .temperature_c = temperature(),
        .throttled = throttled(),
    };
}

void governor_of(int cpu, char governor[GOVERNOR_ROOM]) {
    char path[128];
    snprintf(path, sizeof path, CPU, cpu, "scaling_governor");
    if (!read_word(path, governor)) governor[0] = '\0';
}
