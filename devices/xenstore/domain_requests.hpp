// What a toolstack asks of a running guest through the guest's nodes: nodes and values are libxl's
// (docs/misc/xenstore-paths.pandoc in Xen's source). What the guest makes of it is its own affair.
#pragma once

#include <cstdint>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

/// What control/shutdown understands.
enum class ShutdownRequest : std::uint8_t { poweroff, reboot, suspend, halt };

/// Asks the guest to stop. A guest that takes up a request empties the node.
[[nodiscard]] Status ask_shutdown(Store& store, DomId domain, ShutdownRequest request);
/// Is there a request that the guest has not taken up yet?
[[nodiscard]] bool is_shutdown_pending(Store& store, DomId domain);
/// Takes a pending request back, so that the guest does not stop when nobody expects it any more.
[[nodiscard]] Status withdraw_shutdown(Store& store, DomId domain);

/// Presses a SysRq key; the guest empties the node. EINVAL unless it is a letter or a digit.
[[nodiscard]] Status send_sysrq(Store& store, DomId domain, char key);

/// Asks the guest's balloon driver for this much memory, in KiB. Who calls this sees to the limits.
[[nodiscard]] Status set_memory_target(Store& store, DomId domain, std::uint64_t kib);

/// Asks the guest to use a vCPU, or to do without it. ENOENT if it has no vCPU of that number.
[[nodiscard]] Status set_vcpu_online(Store& store, DomId domain, std::uint32_t vcpu, bool online);

}  // namespace pinfold::devices::xenstore
