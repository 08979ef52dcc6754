// What a supervisor and a monitor write to each other on their link.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>

#include "cli/supervisor/life_end.hpp"
#include "vmm/for_devices/fd.hpp"

namespace pinfold::cli::link {

/// From the monitor: two bytes, the guest's number in the order of the options, and a word about it.
struct Message {
  std::uint8_t guest = 0;
  std::uint8_t word = 0;
};

inline constexpr std::uint8_t runs = 0;  ///< All guests run; of guest 0, and the first message.
/// The guest has ended in this way, and stays for inspection.
[[nodiscard]] constexpr std::uint8_t preserved_after(GuestEnd end) {
  return static_cast<std::uint8_t>(1 + static_cast<int>(end));
}
/// nullopt: it is another word.
[[nodiscard]] constexpr std::optional<GuestEnd> preserved_end(std::uint8_t word) {
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog})
    if (word == preserved_after(end)) return end;
  return std::nullopt;
}
inline constexpr std::uint8_t started_again = 16;  ///< In the same machine, after a reboot or a crash.
inline constexpr std::uint8_t has_company = 17;    ///< Another guest has joined its machine.
/// The guest has ended for good, with this exit code, and others are still there. What became of the last
/// one, the monitor's own exit status says.
[[nodiscard]] constexpr std::uint8_t ended_with(ExitCode code) {
  return static_cast<std::uint8_t>(128 + code);
}
/// nullopt: it is another word.
[[nodiscard]] constexpr std::optional<ExitCode> end_code(std::uint8_t word) {
  for (const auto code : {exit_powered_off, exit_usage, exit_bad_image, exit_no_usable_kvm, exit_crashed,
                          exit_isolation_fault, exit_monitor_failed})
    if (word == ended_with(code)) return code;
  return std::nullopt;
}

/// A guest that is the last in a machine which it has joined, or that was alone when its machine was made and
/// is not any more, has ended in this way: its next life begins in another machine, which its supervisor
/// makes.
[[nodiscard]] constexpr std::uint8_t leaves_after(GuestEnd end) {
  return static_cast<std::uint8_t>(32 + static_cast<int>(end));
}
/// nullopt: it is another word.
[[nodiscard]] constexpr std::optional<GuestEnd> leaving_end(std::uint8_t word) {
  for (const auto end : {GuestEnd::poweroff, GuestEnd::reboot, GuestEnd::crash, GuestEnd::watchdog})
    if (word == leaves_after(end)) return end;
  return std::nullopt;
}

/// Nobody reads it if the supervisor is gone.
inline void say(const vmm::Fd& supervisor, Message message) {
  const std::array bytes{message.guest, message.word};
  (void)::send(supervisor.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

// -- from the supervisor, one byte
inline constexpr char leave = 0;    ///< End the guests, and then yourself.
inline constexpr char renamed = 1;  ///< The guest, which is preserved, has another name.

}  // namespace pinfold::cli::link
