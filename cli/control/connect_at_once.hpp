// Connecting to a guest that may not take connections any more.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// connect_to_guest() to the control socket (socket.hpp) that waits for nothing: if the monitor has stopped,
/// and as many clients wait as the kernel keeps, that is an error. The socket does not block.
[[nodiscard]] tl::expected<vmm::Fd, std::string> connect_at_once(const std::filesystem::path& directory,
                                                                 std::string_view name);

}  // namespace pinfold::cli
