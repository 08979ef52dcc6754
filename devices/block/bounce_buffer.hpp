// Memory that direct I/O can use in place of memory that it can't.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace pinfold::devices::block {

/// Bytes at a multiple of a page: no disk's direct I/O asks for more.
class BounceBuffer {
 public:
  /// What one transfer has at most, so that all of a queue's stay small. Larger transfers go through in turn.
  static constexpr std::size_t bytes = std::size_t{64} * 1024;

  [[nodiscard]] std::byte* data() {
    if (!memory_) {
      memory_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
      if (!memory_) throw std::bad_alloc();
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;  ///< Allocated at the first use.
};

}  // namespace pinfold::devices::block
