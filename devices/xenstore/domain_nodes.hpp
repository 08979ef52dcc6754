// The nodes that a guest expects to find. Requests go through some of them later: domain_requests.hpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "devices/xenstore/store.hpp"

namespace pinfold::devices::xenstore {

struct DomainNodes {
  DomId domain;
  std::string name;
  std::string uuid{};                ///< As text. Has to be there.
  std::uint64_t memory_kib = 0;      ///< Its memory at the start: the balloon driver's first target.
  std::uint64_t max_memory_kib = 0;  ///< The most that the target may be; 0: the same.
  std::uint32_t vcpus = 1;           ///< Online at the start.
  std::uint32_t max_vcpus = 0;       ///< All vCPUs that it has; 0: the same.
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

}  // namespace pinfold::devices::xenstore
