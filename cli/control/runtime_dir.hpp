// Where the control sockets of a user's guests are, and what guests may be called there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace pinfold::cli {

/// The user's directory for control sockets: $PINFOLD_RUNTIME_DIR, which has to be there, and which the group
/// of the directory may enter (so it is for services, docs/service.md). Else, made if it is missing:
/// $XDG_RUNTIME_DIR/pinfold, else /run/user/UID/pinfold, else /tmp/pinfold-UID; the first whose parent is
/// there. An error says why it is not used: it has to belong to the user, and no other user may be able to
/// enter it.
[[nodiscard]] tl::expected<std::filesystem::path, std::string> runtime_directory();

/// Where guests are that the user may act on: $PINFOLD_RUNTIME_DIR alone if it is set, whoever owns it. Else
/// the user's own directory, and behind it that of services, if the user may enter it. An error: there is
/// none.
[[nodiscard]] tl::expected<std::vector<std::filesystem::path>, std::string> guest_directories();

/// Where guests are that run as services: systemd makes it for them.
inline constexpr std::string_view service_directory = "/run/pinfold";

/// Does the directory let its group in? Then the group may use the sockets in it.
[[nodiscard]] bool is_for_group(const std::filesystem::path& directory);

/// The check of a private directory, whose parent exists.
[[nodiscard]] tl::expected<void, std::string> make_private_directory(const std::filesystem::path& directory);

/// In bytes.
inline constexpr std::size_t longest_guest_name = 64;
/// 1 to 64 of A-Z a-z 0-9 . _ -, and no dot at the start: it becomes a file name.
[[nodiscard]] bool is_guest_name(std::string_view name);

}  // namespace pinfold::cli
