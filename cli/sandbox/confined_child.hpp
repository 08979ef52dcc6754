// A child process that computes something from untrusted bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::sandbox {

/// What a child may use, in all.
struct ChildBounds {
  std::chrono::seconds processor_time;
  std::uint64_t address_space;  ///< Bytes.
  std::uint64_t file_bytes;     ///< Of a file that it writes.
};

/// A child with a copy of this process's memory, and without its descriptors. It can compute, get memory, and
/// write to what it was left; a system call beyond that ends it. It ends with its parent. Whatever it writes
/// is untrusted: the bytes that it works on may have taken it over.
class ConfinedChild {
 public:
  /// `work` runs in the child, which ends when it returns; it gets the descriptor to write to. `kept` are
  /// left to the child, too. Call it while this process has one thread. An error is one line.
  [[nodiscard]] static tl::expected<ConfinedChild, std::string> start(
      const ChildBounds& bounds, std::span<const int> kept, const std::function<void(int to_parent)>& work);
  ConfinedChild(ConfinedChild&& other) noexcept;
  ConfinedChild& operator=(ConfinedChild&&) = delete;
  ConfinedChild(const ConfinedChild&) = delete;
  ConfinedChild& operator=(const ConfinedChild&) = delete;
  /// Kills it if it still runs.
  ~ConfinedChild();

  /// Where its words arrive; at its end when it ends.
  [[nodiscard]] const vmm::Fd& from_child() const { return from_child_; }
  /// Kills it if it still runs, and waits for its end. How it ended, in a few words: "ended by itself", or a
  /// signal's name.
  [[nodiscard]] std::string end();

 private:
  ConfinedChild() = default;
  pid_t pid_ = -1;
  vmm::Fd from_child_;
};

}  // namespace pinfold::sandbox
