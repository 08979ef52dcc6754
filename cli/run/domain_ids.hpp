// Which numbers the domains of a machine get.
#pragma once

#include <cstdint>
#include <functional>

#include "devices/xen_abi.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::cli {

/// The next number after `last` that is not taken. From DOMID_FIRST_RESERVED on, numbers have a meaning of
/// their own (xen.h): DOMID_SELF, DOMID_IO. A guest that starts again often would get there. Some number has
/// to be free.
inline DomId next_domain_id(DomId last, const std::function<bool(DomId)>& is_taken) {
  do {
    last = last.raw() + 1U < DOMID_FIRST_RESERVED ? last.plus(1) : DomId(1);
  } while (is_taken(last));
  return last;
}

}  // namespace pinfold::cli
