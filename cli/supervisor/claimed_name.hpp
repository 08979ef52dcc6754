// The name of a guest that this process supervises.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/control/guest_note.hpp"
#include "cli/control/socket.hpp"
#include "cli/hotplug/device_record.hpp"

namespace pinfold::cli {

/// Held as long as this lives.
class ClaimedName {
 public:
  /// An error is one line: the name is another guest's, or the host gives no sockets.
  [[nodiscard]] static tl::expected<ClaimedName, std::string> claim(const std::string& name);

  /// Gives the sockets, with those who are connected, and the ID to the first free name of NAME-1, NAME-2, …
  /// This name stays claimed, for another guest: with new sockets and a new ID.
  [[nodiscard]] tl::expected<ClaimedName, std::string> set_aside();

  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::uint32_t id() const { return note_.id; }
  [[nodiscard]] SocketNumbers listeners() const { return name_.listeners(); }
  /// What commands changed about the guest's devices.
  [[nodiscard]] DeviceChanges noted_devices() const;
  /// Tell commands of the user what is there under the name: a monitor (0: none, between two lives), or one
  /// of a guest that is preserved.
  void note_monitor(pid_t monitor);
  /// The monitor has other guests, too.
  void note_shared(bool shared) { note_.shared = shared; }
  /// The guest started again in its monitor.
  void note_next_life();
  void note_preserved(pid_t monitor);

 private:
  ClaimedName(std::string text, ControlName name, std::uint32_t id);
  void write_note() const { name_.note(note_.text()); }

  std::string text_;
  ControlName name_;
  GuestNote note_;
};

}  // namespace pinfold::cli
