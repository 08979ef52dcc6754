// Asks a running guest through its control socket.
#pragma once

#include <ctime>
#include <span>

#include "cli/control/guests.hpp"
#include "cli/control/protocol.hpp"

namespace pinfold::cli {

/// One request, one answer. The error is one line: no such guest, a refusal, or a monitor that does not
/// answer (`patience_s` seconds without a byte). The guest's monitor gets copies of the descriptors, of which
/// there are at most most_descriptors (socket.hpp).
[[nodiscard]] tl::expected<Json, std::string> ask_guest(std::string_view name_or_id, std::string_view command,
                                                        const Json& arguments = Json::object(),
                                                        time_t patience_s = 10,
                                                        std::span<const int> descriptors = {});
/// The same for a command's only request: before the answer is looked at, this process confines itself
/// (sandbox/helper.hpp), since a guest can have taken over its monitor.
[[nodiscard]] tl::expected<Json, std::string> ask_guest_once(std::string_view name_or_id,
                                                             std::string_view command,
                                                             const Json& arguments = Json::object());
/// The same of a guest and of all others that share its machine now: {"name","answer"} of each that answers
/// becomes "neighbours" of the guest's own answer.
[[nodiscard]] tl::expected<Json, std::string> ask_machine_once(std::string_view name_or_id,
                                                               std::string_view command,
                                                               const Json& arguments = Json::object());
/// The answer's bytes, for decode_answer(): nothing has looked at them.
[[nodiscard]] tl::expected<std::string, std::string> fetch_answer(const RunningGuest& guest,
                                                                  std::string_view command,
                                                                  const Json& arguments = Json::object(),
                                                                  time_t patience_s = 10,
                                                                  std::span<const int> descriptors = {});
/// The same of a guest of the user's own.
[[nodiscard]] tl::expected<std::string, std::string> fetch_answer(std::string_view name,
                                                                  std::string_view command,
                                                                  const Json& arguments = Json::object(),
                                                                  time_t patience_s = 10,
                                                                  std::span<const int> descriptors = {});
/// ask_guest() for a guest that was found (guests.hpp).
[[nodiscard]] tl::expected<Json, std::string> ask_guest_named(const RunningGuest& guest,
                                                              std::string_view command,
                                                              const Json& arguments = Json::object(),
                                                              time_t patience_s = 10,
                                                              std::span<const int> descriptors = {});

}  // namespace pinfold::cli
