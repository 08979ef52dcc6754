// TEST ONLY. Says what pinfold_lying_gate is.
#include <cstdio>

namespace {
const bool said =
    std::fputs("pinfold_lying_gate: THE RESIDENT PATH LIES; this program is for tests of the monitor\n",
               stderr) >= 0;
}
