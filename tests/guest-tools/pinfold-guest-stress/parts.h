#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { most_pairs = 20 };
extern struct options {
  int pairs;                // number of senders and of receivers in a group
  uint64_t sort_megabytes;  // the least that goes through the pipelines
} options;

// Is there time left for another round?
bool time_left(void);
// Prints what a part has done, and returns `good`.
bool report(const char* name, bool good, const char* what, unsigned long long count);

// Each runs in its own process until the time is over. False: a check failed.
bool stress_pipes(void);
bool stress_memory(void);
bool stress_protect(void);
bool stress_hotplug(void);
bool stress_sort(void);
