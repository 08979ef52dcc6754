// A page of Prometheus's text format, version 0.0.4 (its documentation, "Exposition formats").
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pinfold::cli::metrics {

/// A label's value as the format has it: backslash, quote and newline are escaped.
[[nodiscard]] std::string escaped_label(std::string_view value);

struct Label {
  std::string_view name, value;
};

/// The samples of some guests, by family: all samples of a family have to stand together.
class Page {
 public:
  Page();

  /// `family` is an index into families(), `value` a number as the format has it.
  void add(std::size_t family, const std::vector<Label>& labels, std::string_view value);
  void append(const Page& other);
  [[nodiscard]] std::size_t bytes() const;  ///< Of the samples.
  /// HELP and TYPE of every family, with those of its samples that there are behind them.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> samples_;  ///< By family; whole lines.
};

}  // namespace pinfold::cli::metrics
