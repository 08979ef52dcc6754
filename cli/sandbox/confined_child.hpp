// A child process that computes something from untrusted bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "sandbox/policy.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::sandbox {

/// What a child may use, in all.
struct ChildBounds {
  std::chrono::seconds processor_time;
  std::uint64_t address_space;  ///< Bytes.
};

/// A child with a copy of this process's memory, and one end of a pipe for its words. It can compute, get
/// memory, and write to the pipe; a system call beyond that ends it. It ends with its parent. Whatever it
/// writes is untrusted: the bytes that it works on may have taken it over.
class ConfinedChild {
 public:
  /// `work` runs in the child, which ends when it returns; it gets its end of the pipe. Call it while this
  /// process has one thread. `mode` is the monitor's: off, or log, and the child has its bounds only. An
  /// error is one line.
  [[nodiscard]] static tl::expected<ConfinedChild, std::string> start(
      Mode mode, const ChildBounds& bounds, const std::function<void(int to_parent)>& work);
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
