// Host memory mappings and the files behind them, as objects that unmap and close themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::vmm {

/// Why the host refused something, in one line.
struct MemoryError {
  std::string message;
};
template <class T>
using MemoryResult = tl::expected<T, MemoryError>;

/// A mapping of host memory. The destructor unmaps it.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(size_, other.size_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  enum class Access : std::uint8_t { none, read, read_write };
  /// Maps `size` bytes (a multiple of 4 KiB) of `file` from its start, shared with all other mappings of it.
  [[nodiscard]] static MemoryResult<Mapping> of_file(const Fd& file, std::size_t size, Access access);
  /// Maps zeroed memory, which the host allocates when it is first accessed.
  [[nodiscard]] static MemoryResult<Mapping> anonymous(std::size_t size);

  [[nodiscard]] std::byte* base() const { return base_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Makes the pages of [offset, offset + size) present and writable, which costs less than a fault for each.
  /// Stops at the first page that can't be written, and then returns false.
  bool populate(std::size_t offset, std::size_t size);
  /// Gives the memory of [offset, offset + size) back to the host, of a mapping that is writable. It then
  /// reads as zero, here and in all mappings of the same file.
  void discard(std::size_t offset, std::size_t size) const;
  /// Changes the access to [offset, offset + size). False if the host refuses, because there
  /// are too many mappings.
  [[nodiscard]] bool set_access(std::size_t offset, std::size_t size, Access access);

 private:
  Mapping(std::byte* base, std::size_t size) : base_(base), size_(size) {}
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// vm.max_map_count: how many mappings a process may have, or 0 if the host does not say.
[[nodiscard]] std::uint64_t max_map_count();

/// A sparse file in memory. `name` appears in /proc/PID/maps.
[[nodiscard]] MemoryResult<Fd> memory_file(const char* name, std::size_t size);

}  // namespace pinfold::vmm
