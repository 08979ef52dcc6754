// What a domain has to do with its neighbours' memory at one moment, for people who look at it.
#pragma once

#include <cstdint>

#include "pvmmu/types.hpp"

namespace pinfold::devices {

/// A grant of the domain's that somebody uses: a neighbour, a backend of the monitor (domain 0), or the
/// domain itself.
struct GrantInUse {
  GrantRef ref;
  DomId grantee;
  Mfn frame;
  std::uint32_t readers = 0;  ///< Uses that only read.
  std::uint32_t writers = 0;
};

/// A grant that the domain has mapped, its own or a neighbour's.
struct MappedGrant {
  std::uint32_t handle = 0;
  DomId owner;
  GrantRef ref;
  Mfn frame;
  bool writable = false;
  bool by_entry = false;    ///< GNTMAP_host_map: by an entry of a page table.
  bool for_device = false;  ///< GNTMAP_device_map: by an address alone.
};

}  // namespace pinfold::devices
