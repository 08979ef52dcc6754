// libxlutil, Xen's own parser of xl.cfg(5). Only cli/config/xl_child.cpp calls this, in a process that exists
// for nothing else: the library has ways to end its caller.
#pragma once

#include <string>
#include <tl/expected.hpp>

#include "cli/config/xl_answer.hpp"

namespace pinfold::cli {

/// Loads the library, which takes 5 to 12 ms, and parses. An error says that the library can't be used; an
/// error of the text is in the answer.
[[nodiscard]] tl::expected<XlAnswer, std::string> ask_xl_library(const XlRequest& request);

}  // namespace pinfold::cli
