// Fewer page faults for tables that grow with memory.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace pinfold::vmm {

/// Asks for 2 MiB pages behind an allocation that was not touched yet and soon will be, all of it: 512 times
/// fewer faults, which at 8 GiB of guest memory are most of the time until the guest starts. Only a hint.
inline void prefer_large_pages(void* begin, std::size_t bytes) {
  constexpr std::uintptr_t large = std::uintptr_t{2} << 20;
  const auto at = reinterpret_cast<std::uintptr_t>(begin);
  const std::size_t skipped = (large - at % large) % large;
  if (bytes < skipped + large) return;
  (void)::madvise(static_cast<std::byte*>(begin) + skipped, (bytes - skipped) / large * large, MADV_HUGEPAGE);
}

}  // namespace pinfold::vmm
