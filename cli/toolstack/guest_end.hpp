// Waiting for the end of a guest, and ending one that does not answer.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "cli/control/guests.hpp"

namespace pinfold::cli {

/// The guest with its note read again, if it was being written when the guest was found.
[[nodiscard]] RunningGuest with_whole_note(RunningGuest guest);

/// Waits until this life of the guest is over: the guest is gone, or another monitor runs it. `patience`: how
/// long; zero: without end. `while_waiting` is called about ten times a second. False: it has not ended yet.
bool wait_for_end(const RunningGuest& guest, std::chrono::milliseconds patience,
                  const std::function<void()>& while_waiting = {});

/// Waits until no guest has the name any more, but for one of another supervisor's. False: one still has.
[[nodiscard]] bool supervisor_ends_within(const RunningGuest& guest, std::chrono::milliseconds patience);

/// Kills the guest's monitor, if it is still this one. The guest's supervisor reports it.
void kill_monitor(const RunningGuest& guest);

/// After the end of a life: waits for the guest's supervisor to end, and asks it to if it does not by itself.
/// That is so if the guest rebooted at the moment of its end, and is started again. False: it has not ended.
[[nodiscard]] bool end_supervisor(const RunningGuest& guest);

}  // namespace pinfold::cli
