#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { most_pairs = 20 };
extern struct options {
  int pairs;                // senders, and receivers, in a group
  uint64_t sort_megabytes;  // that go through the pipelines at least
} options;

// Is there time for another round?
bool time_left(void);
// Prints what a part has done; `good` again.
bool report(const char* name, bool good, const char* what, unsigned long long count);

// Each runs until no time is left, in a process of its own. False: something was wrong.
bool stress_pipes(void);
bool stress_memory(void);
bool stress_protect(void);
bool stress_hotplug(void);
bool stress_sort(void);
