// Descriptors, and a text about them, from the command that adds a guest to a machine to the machine's
// monitor.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "cli/control/socket.hpp"

namespace pinfold::cli::join {

/// More than any guest has: each of 16 disks and 8 interfaces with 8 queues, and what every guest has.
inline constexpr std::size_t most_files = 128;

struct Parcel {
  std::string text;
  Descriptors files;
};

/// A file without a name that nobody can change any more; not open if the host gives none.
[[nodiscard]] vmm::Fd sealed_file(std::span<const std::byte> bytes);
/// Is it one? Then its size in bytes.
[[nodiscard]] tl::expected<std::size_t, std::string> size_of_sealed(const vmm::Fd& file);

/// All at once, before anybody reads: false if the socket does not take it.
[[nodiscard]] bool send_parcel(const vmm::Fd& socket, std::string_view text, const std::vector<int>& files);
/// What was sent before; waits for nothing. An error is one line.
[[nodiscard]] tl::expected<Parcel, std::string> receive_parcel(const vmm::Fd& socket);

}  // namespace pinfold::cli::join
