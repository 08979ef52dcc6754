// The guests that a user may act on and that run now, by name and by ID.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "cli/control/guest_note.hpp"

namespace pinfold::cli {

struct RunningGuest {
  std::string name;
  GuestNote note;
  std::filesystem::path directory{};  ///< Where its sockets are.
};

/// All of them, sorted by ID. Removes the files that killed processes left in the directory.
[[nodiscard]] std::vector<RunningGuest> running_guests(const std::filesystem::path& directory);

/// The guest with this ID or this name. An error is one line, and lists the guests that there are. A number
/// that is the ID of one guest and the name of another is an error, too: nobody destroys the wrong one.
[[nodiscard]] tl::expected<RunningGuest, std::string> find_guest(const std::filesystem::path& directory,
                                                                 std::string_view name_or_id);

/// The guests in all directories that the user may enter (runtime_dir.hpp), the user's own first.
[[nodiscard]] tl::expected<std::vector<RunningGuest>, std::string> reachable_guests();
/// One of them. What the user's own guests have as a name or an ID is looked for among them first.
[[nodiscard]] tl::expected<RunningGuest, std::string> find_guest(std::string_view name_or_id);

/// A number that no running guest has as its ID. They are given in order, so that one that was free a moment
/// ago is not soon another guest's. 0: the directory takes no file.
[[nodiscard]] std::uint32_t take_guest_id(const std::filesystem::path& directory);

}  // namespace pinfold::cli
