// Asks many guests at the same time.
#pragma once

#include <chrono>
#include <string_view>
#include <vector>

#include "cli/toolstack/asked.hpp"

namespace pinfold::cli::metrics {

struct AskLimits {
  std::chrono::milliseconds patience{2000};  ///< For one guest, from its connection on.
  std::chrono::milliseconds in_all{8000};    ///< Less than Prometheus waits if nothing else is said: 10 s.
  std::size_t at_once = 256;                 ///< Connections.
  std::size_t longest_answer = std::size_t{1} << 18;  ///< Bytes.
};

/// Sends each guest the command, and collects what comes back: the bytes of an answer, unseen, or why there
/// is none, one for each guest and in their order. A guest that does not answer holds up no other one: only
/// if `at_once` guests are silent, the rest waits until these have used up their patience.
[[nodiscard]] std::vector<Asked> ask_all(std::vector<RunningGuest> guests, std::string_view command,
                                         const AskLimits& limits = {});

}  // namespace pinfold::cli::metrics
