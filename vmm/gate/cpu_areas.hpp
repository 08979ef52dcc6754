// The pages that each vCPU has of its own in the gate.
#pragma once

#include <cstdint>

#include "vmm/gate/layout.hpp"
#include "vmm/memory/arena.hpp"

namespace pinfold::vmm::gate {

/// The frames of all vCPUs' areas, taken from the arena's fixed pages. Their addresses are page_address().
class CpuAreas {
 public:
  CpuAreas(Arena& arena, std::uint32_t cpus) : arena_(arena), first_(arena.take_fixed(cpus * used_pages)) {}

  [[nodiscard]] Mfn frame(std::uint32_t cpu, std::uint64_t page) const {
    return first_.plus(cpu * used_pages + page);
  }
  /// The page's bytes in the monitor.
  [[nodiscard]] std::byte* bytes(std::uint32_t cpu, std::uint64_t page) const {
    return arena_.bytes(frame(cpu, page));
  }

 private:
  Arena& arena_;
  Mfn first_;
};

}  // namespace pinfold::vmm::gate
