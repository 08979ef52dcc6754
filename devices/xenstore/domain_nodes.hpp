// The nodes that a guest expects to find, and the ones through which the host asks it for something.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

struct DomainNodes {
  DomId domain;
  std::string name;
  std::string uuid{};  ///< As text. Has to be there.
  std::uint64_t memory_kib = 0;
  std::uint32_t vcpus = 1;
  Mfn console_ring{};
  Port console_port{};
  Mfn store_ring{};
  Port store_port{};
};

/// Writes /local/domain/<id> as a toolstack does before the guest starts: what the guest may only read, and
/// the few places where it may write. EEXIST: another guest has this UUID. After an error there are no nodes.
[[nodiscard]] Status populate(Store& store, const DomainNodes& nodes);
/// Removes what populate() wrote, and what the guest added below it. Nodes that are not there are no error.
void remove_nodes(Store& store, const DomainNodes& nodes);

/// What control/shutdown understands.
enum class ShutdownRequest { poweroff, reboot, suspend, halt };

/// Asks the guest to stop, by the node that its kernel watches; what it makes of it is its own affair.
[[nodiscard]] Status request_shutdown(Store& store, DomId domain, ShutdownRequest request);

}  // namespace pinfold::devices::xenstore
