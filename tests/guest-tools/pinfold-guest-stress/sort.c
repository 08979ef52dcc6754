// A pipeline of processes with much data in it: sorted backwards, packed, unpacked, sorted again, the numbers
// are what they were.
#include <stdlib.h>

#include "parts.h"

bool stress_sort(void) {
  static const char pipeline[] =
      "a=$(seq 1 60000 | sha256sum); "
      "b=$(seq 1 60000 | sort -r | gzip -1 | gunzip | sort -n | sha256sum); [ \"$a\" = \"$b\" ]";
  unsigned long long rounds = 0;
  bool good = true;
  while (good && time_left()) {
    good = system(pipeline) == 0;
    ++rounds;
  }
  return report("sort", good, "rounds", rounds);
}
