// `pinfold console NAME`: the user's terminal as a running guest's console.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// Shows the guest's latest output and what it prints from then on, and passes on what is typed, until Ctrl-]
/// (in a terminal), a signal, or the guest's end. A guest that starts again is shown again. Returns the exit
/// code (exit_codes.hpp).
int attach_console(const std::string& name_or_id);
/// The same with a connection to the console of the guest `name`, which may have been made before it ran.
int attach_console(const std::filesystem::path& directory, const std::string& name, vmm::Fd connection);

}  // namespace pinfold::cli
