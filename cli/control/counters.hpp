// What a domain and its monitor did so far, in numbers: for --stats and for the command metrics.
#pragma once

#include <nlohmann/json.hpp>

#include "vmm/domain.hpp"

namespace pinfold::cli {

/// {"exits":{…},"ms_until_exit":{…},"hypercalls":{…},"finished_in_the_vm":{…},…,"mmu":{…},…}: counts are
/// whole numbers, times are milliseconds and not whole.
[[nodiscard]] nlohmann::ordered_json counters_of(pvmmu::Held held, vmm::Domain& domain);

}  // namespace pinfold::cli
