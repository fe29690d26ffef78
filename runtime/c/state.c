#include "state.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

enum { MAX_ZONES = 64, WORD = 64 };
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

static void print_known(const char *key, int known, double value) {
    if (known) {
        json_number(key, value);
    } else {
        json_null(key);
    }
}

/* Of the hottest zone. */
static void print_temperature(void) {
    double hottest = 0;
    int known = 0;
    for (int zone = 0; zone < MAX_ZONES; zone++) {
        char path[128];
        double millidegrees;
        snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
        if (!read_number(path, &millidegrees)) continue;
        if (!known || millidegrees > hottest) hottest = millidegrees;
        known = 1;
    }
    print_known("temperature_c", known, hottest / 1000);
}

/* The devices that cool by slowing: "cpufreq-…" on Arm, "Processor" with ACPI. */
static void print_throttled(void) {
    int known = 0, throttled = 0;
    for (int device = 0; device < MAX_ZONES; device++) {
        char path[128], type[WORD];
        double level;
        snprintf(path, sizeof path, "/sys/class/thermal/cooling_device%d/type", device);
        if (!read_word(path, type)) continue;
        if (strncmp(type, "cpufreq-", 8) != 0 && strcmp(type, "Processor") != 0) continue;
        snprintf(path, sizeof path, "/sys/class/thermal/cooling_device%d/cur_state", device);
        if (!read_number(path, &level)) continue;
        known = 1;
        throttled |= level > 0;
    }
    print_known("throttled", known, throttled);
}

void state_print(const char *key) {
    char path[128];
    double kilohertz = 0;
    snprintf(path, sizeof path, CPU, 0, "scaling_cur_freq");
    int known = read_number(path, &kilohertz);
    json_open_key(key, '{');
    print_known("frequency_hz", known, kilohertz * 1000);
    print_temperature();
    print_throttled();
    json_close('}');
}

void governor_print(const char *key, int cpu) {
    char path[128], governor[WORD];
    snprintf(path, sizeof path, CPU, cpu, "scaling_governor");
    if (read_word(path, governor)) {
        json_string(key, governor);
    } else {
        json_null(key);
    }
}
