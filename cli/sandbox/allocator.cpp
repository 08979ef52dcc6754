#include "sandbox/allocator.hpp"

#include <malloc.h>

#include <array>
#include <cstdlib>
#include <thread>

namespace pinfold::sandbox {
namespace {

constexpr std::size_t blocks = 4, block_bytes = std::size_t{64} * 1024;

/// Trims the heap of a thread's own arena, once. glibc then reads /proc/sys/vm/overcommit_memory and
/// remembers it (malloc/arena.c, shrink_heap). Together the blocks exceed the threshold of a trim, and none
/// has a mapping of its own.
void trim_once() {
  std::array<void*, blocks> all{};
  for (void*& block : all) block = std::malloc(block_bytes);
  for (void* const block : all) std::free(block);
}

}  // namespace

void settle_allocator() {
  // What glibc would choose itself when the ninth arena is wanted. It would look for the number of processors
  // in /sys.
  ::mallopt(M_ARENA_MAX, static_cast<int>(8 * std::thread::hardware_concurrency()));
  // glibc raises its thresholds when memory with a mapping of its own is freed. After that, nothing might be
  // trimmed here, but later. Setting one fixes both (mallopt(3)): first at the default, then at what buffers
  // of some hundred KiB would have made of them.
  ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
  std::thread(trim_once).join();
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 2 << 20);
}

}  // namespace pinfold::sandbox
