// The control socket's answers in words.
#pragma once

#include <string>

#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// One line a table; with `level` 1 to 4 those of that level only, with 0 all.
[[nodiscard]] std::string tables_text(const Json& answer, unsigned level);
/// With what its neighbours say of the frame, if there are any ("neighbours").
[[nodiscard]] std::string frame_text(const Json& answer);
/// What holds the frame or refers to it, a line each.
[[nodiscard]] std::string holders_text(const Json& answer);
[[nodiscard]] std::string walk_text(const Json& answer);

/// "1 reference", "2 references".
[[nodiscard]] std::string counted(std::uint64_t number, const char* what);
/// "L2 0x1f3 slot 4", "kernel root of vCPU 0".
[[nodiscard]] std::string place_text(const Json& place);
[[nodiscard]] std::string outside_text(const Json& user);

}  // namespace pinfold::cli
