// Runs libxlutil in a process of its own, and hands back what it found.
#pragma once

#include <functional>
#include <string>
#include <tl/expected.hpp>

#include "cli/config/xl_answer.hpp"

namespace pinfold::cli {

/// Forks, and asks the library in the child. An error says why there is no answer, in words for the user: the
/// child died, took too long, or has no library. Call it before the program has threads.
[[nodiscard]] tl::expected<XlAnswer, std::string> ask_xl_child(const XlRequest& request);

/// Runs `work` in a child, and returns the bytes that it returned. The child has 10 seconds and at most
/// `longest_answer` bytes for it, and leaves no core. An error says how it ended instead. `confine` is called
/// in the child before the work, with the descriptor that it will write to; if it returns false, the child
/// ends.
[[nodiscard]] tl::expected<std::string, std::string> run_in_child(
    const std::function<std::string()>& work, const std::function<bool(int to)>& confine = {});

}  // namespace pinfold::cli
