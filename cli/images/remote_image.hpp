// Images that an NBD server has, as URIs of the NetworkBlockDevice project (doc/uri.md) name them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::images {

/// Where an export is. Either a unix socket or a host.
struct RemoteImage {
  std::string socket;  ///< A unix socket's path; empty: a host.
  std::string host, port;
  std::string export_name;  ///< Empty: the server's default.
};

/// nbd://HOST[:PORT][/EXPORT] or nbd+unix:///[EXPORT]?socket=PATH, with %XX in EXPORT and PATH. nullopt: the
/// text is no URI, but a path. An error is a reason.
[[nodiscard]] std::optional<tl::expected<RemoteImage, std::string>> remote_image(std::string_view target);

/// Connects `count` sockets, or as many as the server takes, but one at least. An error is a reason.
[[nodiscard]] tl::expected<std::vector<vmm::Fd>, std::string> connect_to(const RemoteImage& image,
                                                                         std::size_t count);

}  // namespace pinfold::cli::images
