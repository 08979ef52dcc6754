// A guest that has ended and stays for inspection (on_crash="preserve" and the like, xl.cfg(5)).
#pragma once

#include <functional>

#include "cli/config/guest_config.hpp"
#include "cli/control/wake_up.hpp"
#include "cli/supervisor/life_end.hpp"
#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {

/// Whether the guest stays after this end, under its own name or another one.
[[nodiscard]] bool is_preserved(const GuestConfig& config, GuestEnd end);

/// What ends the preservation, and what a supervisor says meanwhile (monitor_process.hpp).
struct PreservationLinks {
  const vmm::Fd* supervisor;                 ///< The link; null: somebody else reads it.
  const WakeUp& destroyed;                   ///< Signalled when the guest is to go.
  std::function<void()> disconnect_readers;  ///< The guest has got another name.
};

/// Waits until the supervisor or a command ends it. With a link, signals that ask the program to end are for
/// the supervisor: from here on they do nothing here.
void preserve(const PreservationLinks& links);

}  // namespace pinfold::cli
