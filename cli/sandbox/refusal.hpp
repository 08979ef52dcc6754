// What happens when a filter refuses a system call.
#pragma once

#include <cstdint>

#include "pvmmu/service_thread.hpp"
#include "sandbox/policy.hpp"

namespace pinfold::sandbox {

/// Takes SIGSYS from now on. Mode::on: says on stderr which call was refused, and ends the process with
/// exit_monitor_failed. Mode::log: says it once for each kind of thread and call, and makes the call.
void take_refusals(Mode mode);

/// For what is said about the calling thread's calls. Until then it prepares the guest.
void note_kind(ThreadKind kind);
/// The same for all threads of this process, which is no monitor. The text outlives the process.
void note_process(const char* name);

/// The instruction from which a filter of Mode::log has to allow calls.
[[nodiscard]] std::uint64_t address_of_logged_calls();

}  // namespace pinfold::sandbox
