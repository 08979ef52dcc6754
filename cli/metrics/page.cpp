#include "cli/metrics/page.hpp"

#include <fmt/format.h>

#include "cli/metrics/families.hpp"

namespace pinfold::cli::metrics {

std::string escaped_label(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

Page::Page() : samples_(families().size()) {}

void Page::add(std::size_t family, const std::vector<Label>& labels, std::string_view value) {
  std::string& to = samples_.at(family);
  to += families()[family].name;
  const char* between = "{";
  for (const Label& label : labels) {
    to += fmt::format("{}{}=\"{}\"", between, label.name, escaped_label(label.value));
    between = ",";
  }
  to += fmt::format("{} {}\n", labels.empty() ? "" : "}", value);
}

void Page::append(const Page& other) {
  for (std::size_t i = 0; i < samples_.size(); ++i) samples_[i] += other.samples_[i];
}

std::size_t Page::bytes() const {
  std::size_t sum = 0;
  for (const std::string& samples : samples_) sum += samples.size();
  return sum;
}

std::string Page::text() const {
  std::string out;
  for (std::size_t i = 0; i < samples_.size(); ++i) {
    const Family& family = families()[i];
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", family.name, family.help, family.name,
                       family.type == Type::counter ? "counter" : "gauge");
    out += samples_[i];
  }
  return out;
}

}  // namespace pinfold::cli::metrics
