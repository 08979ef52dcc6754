// Zeroed pages that take memory only once they are touched.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#include "pvmmu/memory.hpp"

namespace pinfold::trace {

/// A machine's memory, as large as the recorded one's, of which a replay touches the tables alone.
class SparseMemory {
 public:
  SparseMemory() = default;
  /// Error: the host has not the address space.
  [[nodiscard]] static tl::expected<SparseMemory, std::string> create(std::uint64_t pages);
  ~SparseMemory();
  SparseMemory(SparseMemory&& other) noexcept;
  SparseMemory& operator=(SparseMemory&& other) noexcept;
  [[nodiscard]] pvmmu::Pages pages() const { return {base_, pages_}; }

 private:
  std::byte* base_ = nullptr;
  std::uint64_t pages_ = 0;
};

}  // namespace pinfold::trace
