// Guests that can't be in one machine.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/run/run_options.hpp"

namespace pinfold::cli {

/// Why guests of these completed() configurations can't be in one machine, by their names, UUIDs, addresses
/// and number; nullopt: they can. Opens nothing.
[[nodiscard]] std::optional<std::string> objection_to_names(const std::vector<const GuestConfig*>& guests);

/// What is wrong with a backend= that names no guest of the machine, as one line.
[[nodiscard]] std::string no_such_backend(const std::string& backend);

/// A device whose backend= is none of the guests before its own; nullopt: there is none.
[[nodiscard]] std::optional<std::string> objection_to_backends(const MachineOptions& guests);

/// Why these guests, whose configurations are completed(), can't run together, as one line: something that
/// one has is another's, or one wants what only a guest alone has. nullopt: they can.
[[nodiscard]] std::optional<std::string> objection_to_neighbours(const MachineOptions& guests);

}  // namespace pinfold::cli
