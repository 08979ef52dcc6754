// Grants and their mappings as JSON, for whoever asks a running guest.
#pragma once

#include <functional>

#include "cli/control/protocol.hpp"
#include "devices/grant_table.hpp"
#include "pvmmu/lock.hpp"

namespace pinfold::cli {

enum class Whose : std::uint8_t { anybodys, neighbours };

/// The first 4096 grants of a frame that are in use.
[[nodiscard]] Json grants_in_use(devices::GrantEntries& entries, Mfn frame);

/// What a domain has mapped by grants of whoever is meant: of a frame, or of all (no_mfn); the first 4096.
/// `lock` is locked before and after the call, and released before each call of `between`.
[[nodiscard]] Json mapped_grants(pvmmu::DomainLock& lock, const devices::GrantTable& grants, Mfn frame,
                                 Whose whose, const std::function<void()>& between);

}  // namespace pinfold::cli
