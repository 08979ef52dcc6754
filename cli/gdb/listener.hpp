// `--gdb`: the place where a debugger can connect.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::gdb {

/// A listening socket: "unix:PATH", made for its owner alone and removed at the end, or
/// "tcp:127.0.0.1:PORT". Only the loopback addresses 127.0.0.1 and [::1] are accepted, because a debugger has
/// full control of the guest.
class Listener {
 public:
  [[nodiscard]] static tl::expected<Listener, std::string> open(std::string_view place);
  Listener(Listener&& other) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();
  [[nodiscard]] const vmm::Fd& socket() const { return socket_; }

 private:
  Listener() = default;
  std::filesystem::path path_;
  vmm::Fd socket_;
};

}  // namespace pinfold::cli::gdb
