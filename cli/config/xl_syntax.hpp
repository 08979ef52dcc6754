// libxlutil's words about a text that it does not accept, for people.
#pragma once

#include <string>
#include <vector>

#include "cli/config/remark.hpp"
#include "cli/config/xl_answer.hpp"

namespace pinfold::cli {

/// One error for each line that the library complains about, with a hint for the mistakes that are made most.
[[nodiscard]] Remarks syntax_remarks(const std::vector<XlSyntaxError>& errors, const std::string& source);

}  // namespace pinfold::cli
