#include "cli/supervisor/claimed_name.hpp"

#include <unistd.h>

#include <utility>

#include "cli/config/guest_config.hpp"
#include "cli/control/guests.hpp"
#include "cli/control/runtime_dir.hpp"

namespace pinfold::cli {

ClaimedName::ClaimedName(std::string text, ControlName name, std::uint32_t id)
    : text_(std::move(text)), name_(std::move(name)), note_{.id = id, .supervisor = ::getpid()} {}

tl::expected<ClaimedName, std::string> ClaimedName::claim(const std::string& name) {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  auto claimed = ControlName::claim(*directory, name);
  if (!claimed) return tl::unexpected(claimed.error().message);
  return ClaimedName(name, std::move(*claimed), take_guest_id(*directory));
}

tl::expected<ClaimedName, std::string> ClaimedName::set_aside() {
  const auto directory = runtime_directory();
  if (!directory) return tl::unexpected(directory.error());
  for (int number = 1;; ++number) {
    const std::string suffix = "-" + std::to_string(number);
    std::string other = text_.substr(0, longest_guest_name - suffix.size()) + suffix;
    auto moved = name_.move_sockets_to(other);
    if (!moved && moved.error().taken) continue;
    if (!moved) return tl::unexpected(moved.error().message);
    ClaimedName aside(std::move(other), std::move(*moved), note_.id);
    aside.write_note();
    note_ = {.id = take_guest_id(*directory), .supervisor = ::getpid()};
    write_note();
    return aside;
  }
}

DeviceChanges ClaimedName::noted_devices() const {
  const auto directory = runtime_directory();
  return directory ? cli::noted_devices(*directory, text_) : DeviceChanges{};
}

void ClaimedName::note_monitor(pid_t monitor) {
  note_.monitor = monitor;
  note_.life = 0;
  write_note();
}

void ClaimedName::note_next_life() {
  ++note_.life;
  write_note();
}

void ClaimedName::note_preserved(pid_t monitor) {
  note_.preserved = true;
  note_monitor(monitor);
}

}  // namespace pinfold::cli
