// TEST ONLY. Views without protection: all of them are always mapped readable and writable. This is linked
// into pinfold_viewless, not into pinfold, with --wrap=mmap and --wrap=mprotect (ld(1)): the monitor's calls
// of these functions arrive here.
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace {

const bool announced = [] {
  std::fputs("pinfold_viewless: THE VIEW IS SWITCHED OFF; this program is for tests of the other walls\n",
             stderr);
  return true;
}();

}  // namespace

extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
void* __real_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_mprotect(void* at, std::size_t size, int protection);

namespace {
// Only guests' memory, not that of a probe, which would report that there is no isolation.
constexpr std::size_t least_view = 32U << 20;
struct View {
  std::atomic<std::uintptr_t> base = 0;
  std::atomic<std::size_t> size = 0;
};
View views[16];  ///< One for each domain of a machine.
std::atomic<std::size_t> count = 0;
}  // namespace

void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int file, off_t offset) {
  const bool is_view = protection == PROT_NONE && (flags & MAP_SHARED) != 0 && size >= least_view;
  void* const mapped =
      __real_mmap(at, size, is_view ? PROT_READ | PROT_WRITE : protection, flags, file, offset);
  if (is_view) {
    View& view = views[count++ % (sizeof views / sizeof *views)];
    view.size = size;
    view.base = reinterpret_cast<std::uintptr_t>(mapped);
  }
  return mapped;
}
int __wrap_mprotect(void* at, std::size_t size, int protection) {
  for (const View& view : views)
    if (view.base != 0 && reinterpret_cast<std::uintptr_t>(at) - view.base < view.size) return 0;
  return __real_mprotect(at, size, protection);
}
// NOLINTEND(bugprone-reserved-identifier)
}
