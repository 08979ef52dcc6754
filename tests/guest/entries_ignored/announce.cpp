// TEST ONLY. Says what pinfold_entries_ignored is: see tests/guest/CMakeLists.txt. Nothing of it is in
// pinfold.
#include <cstdio>

namespace {

[[maybe_unused]] const bool announced = [] {
  std::fputs(
      "pinfold_entries_ignored: WHAT A GRANT'S ENTRY PERMITS IS IGNORED; this program is for tests of what "
      "is "
      "left\n",
      stderr);
  return true;
}();

}  // namespace
