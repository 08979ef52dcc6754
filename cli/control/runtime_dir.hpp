// Where the control sockets of a user's guests are, and what guests may be called there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace pinfold::cli {

/// The user's directory for control sockets, made if it is missing: $XDG_RUNTIME_DIR/pinfold, else
/// /run/user/UID/pinfold, else /tmp/pinfold-UID; the first whose parent is there. An error says why it is not
/// used: it has to belong to the user, and no other user may be able to enter it.
[[nodiscard]] tl::expected<std::filesystem::path, std::string> runtime_directory();

/// The same check of a given directory, whose parent exists.
[[nodiscard]] tl::expected<void, std::string> make_private_directory(const std::filesystem::path& directory);

/// In bytes.
inline constexpr std::size_t longest_guest_name = 64;
/// 1 to 64 of A-Z a-z 0-9 . _ -, and no dot at the start: it becomes a file name.
[[nodiscard]] bool is_guest_name(std::string_view name);

}  // namespace pinfold::cli
