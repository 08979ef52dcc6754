// Manual pages of the program and of its commands, from the descriptions of the help.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/manual/described.hpp"

namespace pinfold::cli::manual {

struct Edition {
  std::string version;
  std::string date;  ///< Such as 2026-11-29.
};

/// pinfold(1).
[[nodiscard]] std::string program_page(const DescribedCommand& program,
                                       const std::vector<DescribedCommand>& commands, const Edition& edition);
/// pinfold-COMMAND(1).
[[nodiscard]] std::string command_page(const DescribedCommand& command, const Edition& edition);
/// pinfold.cfg(5), from docs/xl-cfg.md. Of Markdown it knows what that document uses: headings, paragraphs,
/// lists, tables of two or three columns, and blocks of code.
[[nodiscard]] std::string config_page(std::string_view document, const Edition& edition);

}  // namespace pinfold::cli::manual
