#include "cli/toolstack/guest_end.hpp"

// The header of glibc 2.36 does not say that these are C functions.
extern "C" {
#include <sys/pidfd.h>
}

#include <algorithm>
#include <csignal>
#include <thread>

#include "vmm/kvm/fd.hpp"

namespace pinfold::cli {
namespace {

/// Does the same monitor still run the guest?
bool goes_on(const RunningGuest& guest) {
  return std::ranges::any_of(running_guests(guest.directory), [&](const RunningGuest& now) {
    // While the note is being written it has no ID.
    return now.name == guest.name && (now.note == guest.note || now.note.id == 0);
  });
}

/// Does the supervisor that started the guest still have its name?
bool is_supervised(const RunningGuest& guest) {
  return std::ranges::any_of(running_guests(guest.directory), [&](const RunningGuest& now) {
    // While the note is being written it has no ID.
    return now.name == guest.name && (now.note.supervisor == guest.note.supervisor || now.note.id == 0);
  });
}

}  // namespace

RunningGuest with_whole_note(RunningGuest guest) {
  using namespace std::chrono_literals;
  for (int tries = 0; guest.note.id == 0 && tries < 100; ++tries) {
    std::this_thread::sleep_for(10ms);
    for (RunningGuest& now : running_guests(guest.directory))
      if (now.name == guest.name) guest = std::move(now);
  }
  return guest;
}

bool wait_for_end(const RunningGuest& guest, std::chrono::milliseconds patience,
                  const std::function<void()>& while_waiting) {
  const auto start = std::chrono::steady_clock::now();
  while (goes_on(guest)) {
    if (patience.count() != 0 && std::chrono::steady_clock::now() - start >= patience) return false;
    if (while_waiting) while_waiting();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return true;
}

bool supervisor_ends_within(const RunningGuest& guest, std::chrono::milliseconds patience) {
  const auto start = std::chrono::steady_clock::now();
  while (is_supervised(guest)) {
    if (std::chrono::steady_clock::now() - start >= patience) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

void kill_monitor(const RunningGuest& guest) {
  if (guest.note.monitor <= 0) return;
  // The number may be another process's by now. If the note is still there after the process was opened, the
  // number was the monitor's.
  const vmm::Fd process(::pidfd_open(guest.note.monitor, 0));
  if (process.open() && goes_on(guest)) (void)::pidfd_send_signal(process.get(), SIGKILL, nullptr, 0);
}

bool end_supervisor(const RunningGuest& guest) {
  using namespace std::chrono_literals;
  if (guest.note.supervisor <= 0 || supervisor_ends_within(guest, 500ms)) return true;
  const vmm::Fd process(::pidfd_open(guest.note.supervisor, 0));
  // The supervisor of a preserved guest may have another one that runs, and starts none under this name.
  if (process.open() && !guest.note.preserved && is_supervised(guest))
    (void)::pidfd_send_signal(process.get(), SIGTERM, nullptr, 0);
  return supervisor_ends_within(guest, 10s);
}

}  // namespace pinfold::cli
