// Arrays with an element for each frame of a machine, of which only a part is ever used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace pinfold::pvmmu {

/// Zeroed memory that keeps its place when it grows. The host backs only the 4 KiB pages that were written,
/// not the 2 MiB pages around them, unless will_fill() asks for these.
class SparseMemory {
 public:
  /// Sizes in bytes: of what can be used at first, and what it can grow to. `own_pages`: nothing else may lie
  /// in its pages. Throws std::bad_alloc.
  SparseMemory(std::size_t size, std::size_t most, bool own_pages = false);
  SparseMemory(const SparseMemory&) = delete;
  SparseMemory& operator=(const SparseMemory&) = delete;
  ~SparseMemory();

  [[nodiscard]] void* base() const { return base_; }
  /// Bytes of its address space, a multiple of 2 MiB; 0 without pages of its own.
  [[nodiscard]] std::size_t reserved() const { return reserved_; }
  /// Makes the first `size` bytes usable. False: the host refuses, and nothing was changed.
  [[nodiscard]] bool grow(std::size_t size) const;
  /// All of [offset, offset + size) is about to be written: 2 MiB pages save page faults there. The host may
  /// ignore it.
  void will_fill(std::size_t offset, std::size_t size) const;

 private:
  void* base_ = nullptr;
  std::size_t reserved_ = 0;  ///< Bytes of address space; 0: it is an allocation of the heap.
};

/// The same, of elements whose zero is all bits zero. An access past the size that was asked for is a bug,
/// and ends the program if it is far enough.
template <class T>
class SparseArray {
 public:
  SparseArray(std::uint64_t count, std::uint64_t most, bool own_pages = false)
      : memory_(std::make_shared<SparseMemory>(count * sizeof(T), most * sizeof(T), own_pages)),
        first_(static_cast<T*>(memory_->base())) {}

  [[nodiscard]] T& operator[](std::uint64_t i) const { return first_[i]; }
  [[nodiscard]] const SparseMemory& memory() const { return *memory_; }
  /// An element for a reader that may outlive the array.
  [[nodiscard]] std::shared_ptr<const T> lasting(std::uint64_t i) const { return {memory_, &first_[i]}; }
  [[nodiscard]] bool grow(std::uint64_t count) const { return memory_->grow(count * sizeof(T)); }
  void will_fill(std::uint64_t first, std::uint64_t count) const {
    memory_->will_fill(first * sizeof(T), count * sizeof(T));
  }

 private:
  std::shared_ptr<SparseMemory> memory_;
  T* first_;
};

}  // namespace pinfold::pvmmu
