// What --stats prints.
#pragma once

#include <string>
#include <vector>

#include "devices/xenbus/backend.hpp"
#include "vmm/domain.hpp"

namespace pinfold::cli {

/// Milliseconds since pinfold was started.
struct Milestones {
  double image_loaded = 0;
  double first_instruction = 0;
  double first_console_byte = 0;  ///< 0: none came.
  double end = 0;
};

[[nodiscard]] std::string stats_table(vmm::Domain& domain, const Milestones& times,
                                      const std::vector<devices::xenbus::DeviceCounts>& devices);
/// One JSON object: {"milestones_ms":{…},"exits":{…},"hypercalls":{…},"mmu":{…},…,"devices":{"disk
/// xvda":{…}}}.
[[nodiscard]] std::string stats_json(vmm::Domain& domain, const Milestones& times,
                                     const std::vector<devices::xenbus::DeviceCounts>& devices);

}  // namespace pinfold::cli
