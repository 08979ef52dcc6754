// Processes beside the monitor that read what a guest, its monitor or an image's maker wrote.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

#include "sandbox/policy.hpp"

namespace pinfold::sandbox {

/// What a process is for; docs/sandbox.md has what each may do.
enum class Helper : std::uint8_t {
  unpacker,  ///< Unpacks a kernel: computes, and writes to what it was left.
  reader,    ///< A command that reads a log, or a monitor's answer, and prints what it understood.
  keeper,    ///< Keeps the log of a guest's messages.
};

/// Confines this process for good: no privilege, Landlock, and a filter of system calls. A call that is
/// refused ends the process with exit_monitor_failed. Call it when everything is open, before the first
/// untrusted byte is looked at, in a process of one thread. `mode` is not log: then it is like off, and does
/// nothing. An error is one line: what the host lacks; the process is less confined, or not at all.
[[nodiscard]] tl::expected<void, std::string> confine_helper(Helper helper, Mode mode = Mode::on);

/// The same for a command, which goes on if the host can't confine it, and says so on stderr.
void confine_reader();

/// This build confines nothing: its sanitizers need calls that no filter can allow.
[[nodiscard]] bool confines_nothing();

}  // namespace pinfold::sandbox
