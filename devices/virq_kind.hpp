// Whose a virtual interrupt is.
#pragma once

#include <cstdint>

#include "devices/xen_abi.hpp"

namespace pinfold::devices {

enum class VirqKind : std::uint8_t { vcpu, domain, global };

/// xen.h's list: V is per vCPU; G belongs to one domain of the machine, which is never this one.
inline VirqKind kind_of(std::uint32_t virq) {
  switch (virq) {
    case VIRQ_TIMER:
    case VIRQ_DEBUG:
    case VIRQ_XENOPROF:
    case VIRQ_XENPMU: return VirqKind::vcpu;
    case VIRQ_ARGO: return VirqKind::domain;
    default: return VirqKind::global;
  }
}

}  // namespace pinfold::devices
