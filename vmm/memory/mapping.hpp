// Host memory mappings and the files behind them, as objects that unmap and close themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "vmm/kvm/fd.hpp"

namespace pinfold::vmm {

/// What the host refused, in one line.
struct MemoryError {
  std::string message;
};
template <class T>
using MemoryResult = tl::expected<T, MemoryError>;

/// A mapping of host memory; unmapped when it goes.
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
  /// Maps fresh zeroed memory, taken from the system as it is touched.
  [[nodiscard]] static MemoryResult<Mapping> anonymous(std::size_t size);

  [[nodiscard]] std::byte* base() const { return base_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  /// Has the pages of [offset, offset + size) there at once, which costs less than a fault for each. Stops at
  /// the first page that can't be written, and says so.
  bool populate(std::size_t offset, std::size_t size);
  /// Gives the memory behind [offset, offset + size) of an anonymous mapping back to the system: it reads as
  /// zero until it is written again.
  void discard(std::size_t offset, std::size_t size);
  /// Changes the access of [offset, offset + size); false if the host refused (too many mappings).
  [[nodiscard]] bool set_access(std::size_t offset, std::size_t size, Access access);

 private:
  Mapping(std::byte* base, std::size_t size) : base_(base), size_(size) {}
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// A file that lives in memory only, sparse; `name` shows in /proc/PID/maps.
[[nodiscard]] MemoryResult<Fd> memory_file(const char* name, std::size_t size);

}  // namespace pinfold::vmm
