// The page's sources, files in page/; the build makes this header's .cpp of them (embed.cmake).
#pragma once

#include <string>

namespace pinfold::report::page_parts {

[[nodiscard]] std::string html();
[[nodiscard]] std::string style();
[[nodiscard]] std::string script();

}  // namespace pinfold::report::page_parts
