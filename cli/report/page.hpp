// The page that shows a log: one file that needs nothing else.
#pragma once

#include <functional>
#include <string>

#include "report/model.hpp"

namespace pinfold::report {

/// What the page says of a rule beside its text; empty: nothing.
struct RuleWords {
  std::string why, instead;
};

struct PageOptions {
  std::string file;  ///< The log's name, for the title.
  std::function<RuleWords(pvmmu::Rule)> words;
  /// The name of a guest kernel's address; none: addresses stay numbers.
  std::function<std::string(std::uint64_t)> namer;
};

/// HTML, in UTF-8.
[[nodiscard]] std::string make_page(const Model& model, const PageOptions& options);

}  // namespace pinfold::report
