// 2 MiB pages for tables that grow with memory.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

namespace pinfold::vmm {

/// Asks the host for 2 MiB pages for an allocation that was not accessed yet and soon will be as a whole.
/// This saves 511 of 512 page faults, which with 8 GiB of guest memory take most of the time until the guest
/// starts. The host may ignore it.
inline void prefer_large_pages(void* begin, std::size_t bytes) {
  constexpr std::uintptr_t large = std::uintptr_t{2} << 20;
  const auto at = reinterpret_cast<std::uintptr_t>(begin);
  const std::size_t skipped = (large - at % large) % large;
  if (bytes < skipped + large) return;
  (void)::madvise(static_cast<std::byte*>(begin) + skipped, (bytes - skipped) / large * large, MADV_HUGEPAGE);
}

}  // namespace pinfold::vmm
