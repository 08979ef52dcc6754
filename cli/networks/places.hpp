// Stream sockets that carry an interface's frames.
#pragma once

#include <filesystem>
#include <string>
#include <tl/expected.hpp>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// "unix:/PATH" or "tcp:ADDRESS:PORT", with an IPv6 address in brackets. An error is one line.
[[nodiscard]] tl::expected<vmm::Fd, std::string> connect_to(const std::string& place);

/// A socket that listens, and does not wait in accept(2). Of a unix socket, the name is removed at the end.
class Listening {
 public:
  /// The name of a unix socket may be left over from a program that has ended.
  [[nodiscard]] static tl::expected<Listening, std::string> at(const std::string& place);
  Listening(Listening&&) noexcept = default;
  Listening& operator=(Listening&&) = delete;
  ~Listening();
  vmm::Fd socket;

 private:
  Listening(vmm::Fd listener, std::filesystem::path path)
      : socket(std::move(listener)), path_(std::move(path)) {}
  std::filesystem::path path_;  ///< Empty: none to remove.
};

}  // namespace pinfold::cli
