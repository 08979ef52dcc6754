// TEST ONLY. Says what pinfold_untyped is: see tests/guest/CMakeLists.txt. Nothing of it is in pinfold.
#include <cstdio>

namespace {

[[maybe_unused]] const bool announced = [] {
  std::fputs(
      "pinfold_untyped: THE TYPES OF FRAMES ARE SWITCHED OFF; this program is for tests of what is left\n",
      stderr);
  return true;
}();

}  // namespace
