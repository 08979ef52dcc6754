// Takes processors offline and back online, one after the other. At the end all are online. With one
// processor it does nothing.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "parts.h"

static bool set_online(int cpu, bool on) {
  char path[80];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/online", cpu);
  const int file = open(path, O_WRONLY | O_CLOEXEC);
  const bool done = file >= 0 && write(file, on ? "1" : "0", 1) == 1;
  if (file >= 0) close(file);
  return done;
}

bool stress_hotplug(void) {
  const int cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
  unsigned long long changes = 0;
  bool good = true;
  while (cpus > 1 && good && time_left()) {
    for (int cpu = 1; cpu < cpus && good && time_left(); ++cpu) {
      good = set_online(cpu, false);
      usleep(20000);
      good = set_online(cpu, true) && good;
      changes += 2;
    }
  }
  return report("hotplug", good && sysconf(_SC_NPROCESSORS_ONLN) == cpus, "changes", changes);
}
