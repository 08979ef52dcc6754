// TEST ONLY. Says what pinfold_dawdling_gate is.
#include <cstdio>

namespace {
const bool said =
    std::fputs("pinfold_dawdling_gate: THE RESIDENT PATH DAWDLES; this program is for tests of its locks\n",
               stderr) >= 0;
}
