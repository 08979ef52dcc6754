// The state pages of all vCPUs.
#pragma once

#include <array>
#include <cstdint>

#include "pvmmu/memory.hpp"
#include "vmm/gate/cpu_areas.hpp"
#include "vmm/gate/state_page.hpp"

namespace pinfold::vmm {

/// What was finished in the VM, on all vCPUs together.
struct FastPathCounts {
  std::array<std::uint64_t, gate::exceptions> exceptions{};  ///< Bounced, by vector.
  std::uint64_t syscalls = 0, events = 0;                    ///< Bounced.
  std::array<std::uint64_t, 64> hypercalls{};                ///< By number.
  std::uint64_t interrupt_flags = 0;                         ///< CLI and STI.
  std::uint64_t base_registers = 0;                          ///< RDMSR and WRMSR of a segment base.
  /// Requests that the resident path was asked for, by what it did; the first: it left them to the monitor.
  std::array<std::uint64_t, pvmmu::resident_works> resident{};
  std::uint64_t resident_stores = 0;      ///< Plain stores to L1 entries.
  std::uint64_t resident_va_updates = 0;  ///< Single updates by address.
  std::uint64_t resident_kept_out = 0;    ///< How often it found the domain's lock held.
};

namespace gate {

/// Reads and writes fields of the state pages, each word at once.
class StatePages {
 public:
  StatePages(const CpuAreas& areas, std::uint32_t cpus)
      : cpus_(cpus), pages_(areas.bytes(0, state_page), (cpus - 1) * used_pages + 1) {}

  [[nodiscard]] std::uint64_t get(std::uint32_t cpu, StateField field) const {
    return pages_.load(cpu * used_pages, field.word());
  }
  void set(std::uint32_t cpu, StateField field, std::uint64_t value) const {
    pages_.store(cpu * used_pages, field.word(), value);
  }
  void set(std::uint32_t cpu, StateHandler place, const GuestHandler& handler) const {
    pages_.store(cpu * used_pages, place.word(), handler.address);
    pages_.store(cpu * used_pages, place.word() + 1, handler.flags);
  }
  [[nodiscard]] FastPathCounts counts() const;

 private:
  std::uint32_t cpus_;
  pvmmu::Pages pages_;  ///< The first vCPU's state page; the next one's is `used_pages` further on.
};

}  // namespace gate
}  // namespace pinfold::vmm
