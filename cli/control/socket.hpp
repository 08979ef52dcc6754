// Control sockets of running guests: claiming a name, and connecting to the guest that has it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli {

/// The sockets of a guest, all of which only its user can connect to (mode 0600), or in a directory for a
/// group (is_for_group) that group, too (0660).
enum class GuestSocket : std::uint8_t {
  control,  ///< NAME.sock: requests about the guest (protocol.hpp).
  store,    ///< NAME.xenstore: xenstore's protocol; a client acts as domain 0.
  console,  ///< NAME.console: the bytes of its console.
};

inline constexpr std::size_t socket_count = 3;
/// Descriptors of listening sockets, by GuestSocket; -1: there is none.
using SocketNumbers = std::array<int, socket_count>;

/// A guest's name, held for as long as this lives: the file NAME.lock is locked, and the sockets listen. All
/// of the name's files are removed at the end. A process that died leaves them behind unlocked, and the next
/// that wants the name replaces them.
class ControlName {
 public:
  struct Error {
    bool taken = false;  ///< A live guest has the name.
    std::string message;
  };
  /// `name` is_guest_name; `directory` is the user's own (runtime_dir.hpp).
  [[nodiscard]] static tl::expected<ControlName, Error> claim(const std::filesystem::path& directory,
                                                              std::string_view name);
  ControlName(ControlName&&) noexcept = default;
  ControlName& operator=(ControlName&&) = delete;
  ~ControlName();

  /// Gives the sockets, with those who are connected to them, to another name in the same directory. This
  /// name stays held, and gets new sockets. After an error it may have lost some of them.
  [[nodiscard]] tl::expected<ControlName, Error> move_sockets_to(std::string_view other);

  /// Writes into the lock file, in place of what is there (guests.hpp).
  void note(std::string_view text) const;

  /// The listening sockets, not blocking.
  [[nodiscard]] const vmm::Fd& listener(GuestSocket which = GuestSocket::control) const {
    return sockets_[static_cast<std::size_t>(which)].listener;
  }
  [[nodiscard]] SocketNumbers listeners() const;

 private:
  ControlName() = default;
  struct Socket {
    std::filesystem::path path;
    vmm::Fd listener;
  };
  [[nodiscard]] static tl::expected<Socket, std::string> listen_at(const std::filesystem::path& path,
                                                                   bool for_group);
  /// The name without sockets.
  [[nodiscard]] static tl::expected<ControlName, Error> hold(const std::filesystem::path& directory,
                                                             std::string_view name);

  std::filesystem::path lock_path_, devices_path_;
  bool for_group_ = false;
  vmm::Fd lock_;
  std::array<Socket, socket_count> sockets_;  ///< By GuestSocket.
};

/// The file in which commands write down what they changed about the guest's devices: made with the name,
/// empty, and removed with it.
[[nodiscard]] std::filesystem::path devices_path(const std::filesystem::path& directory,
                                                 std::string_view name);
/// The lock file of a name.
[[nodiscard]] std::filesystem::path lock_path(const std::filesystem::path& directory, std::string_view name);

/// Connects to a guest's socket; the error is one line, and says so if there is no such guest.
[[nodiscard]] tl::expected<vmm::Fd, std::string> connect_to_guest(const std::filesystem::path& directory,
                                                                  std::string_view name,
                                                                  GuestSocket which = GuestSocket::control);

/// Descriptors that came over a socket. Those that are not moved out are closed with this object.
using Descriptors = std::vector<vmm::Fd>;

/// How many descriptors may come with one request.
inline constexpr std::size_t most_descriptors = 4;

/// Like recv(2), and appends the descriptors that came with the bytes to `to`, close-on-exec. If more than
/// most_descriptors came, or the process can't have more open files, it returns -1 with errno EMFILE, and
/// `to` has those that arrived.
[[nodiscard]] std::ptrdiff_t receive(const vmm::Fd& socket, std::span<char> bytes, Descriptors& to);

/// Sends all bytes, and copies of the descriptors with them, of which there are at most most_descriptors.
/// Returns false if the connection is gone.
[[nodiscard]] bool send_with(const vmm::Fd& socket, std::string_view bytes, std::span<const int> descriptors);

/// Sends all bytes. Returns false if the other end takes none for `patience_ms` (-1: no limit), if `stop`
/// becomes readable, or if the connection is gone.
[[nodiscard]] bool send_all(const vmm::Fd& socket, std::string_view bytes, int patience_ms,
                            const vmm::Fd* stop = nullptr);

/// The names that have a socket in the directory, sorted. Removes the files that killed processes left there.
[[nodiscard]] std::vector<std::string> names_in(const std::filesystem::path& directory);

}  // namespace pinfold::cli
