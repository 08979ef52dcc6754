#include <fmt/format.h>

#include <algorithm>

#include "cli/manual/pages.hpp"
#include "cli/manual/roff.hpp"

namespace pinfold::cli::manual {
namespace {

std::vector<std::string_view> lines_of(std::string_view document) {
  std::vector<std::string_view> lines;
  while (!document.empty()) {
    const auto end = std::min(document.find('\n'), document.size());
    lines.push_back(document.substr(0, end));
    document.remove_prefix(std::min(end + 1, document.size()));
  }
  return lines;
}

/// "| a | b |" is "a" and "b".
std::vector<std::string> cells_of(std::string_view row) {
  std::vector<std::string> cells;
  row.remove_prefix(1);
  for (auto end = row.find('|'); end != std::string_view::npos; end = row.find('|')) {
    std::string_view cell = row.substr(0, end);
    while (cell.starts_with(' ')) cell.remove_prefix(1);
    while (cell.ends_with(' ')) cell.remove_suffix(1);
    cells.emplace_back(cell);
    row.remove_prefix(end + 1);
  }
  return cells;
}

class Converter {
 public:
  void take(std::string_view line) {
    if (line.starts_with("```")) return switch_code();
    if (in_code_) return take_code(line);
    if (line.empty()) return end_paragraph();
    if (line.starts_with('#')) return take_heading(line);
    if (line.starts_with('|')) return take_row(line);
    if (line.starts_with("- ")) {
      end_paragraph();
      text_ += ".IP \\(bu 2\n";
      heading_ = false;
      paragraph_ = line.substr(2);
      listed_ = true;
      return;
    }
    while (line.starts_with(' ')) line.remove_prefix(1);
    if (!paragraph_.empty()) paragraph_ += ' ';
    paragraph_ += line;
  }
  [[nodiscard]] std::string end() {
    end_paragraph();
    return std::move(text_);
  }

 private:
  void switch_code() {
    end_paragraph();
    in_code_ = !in_code_;
    if (in_code_ && !heading_) text_ += ".PP\n";
    heading_ = false;
    text_ += in_code_ ? ".nf\n" : ".fi\n";
  }
  void take_code(std::string_view line) { text_ += line.empty() ? "\\&\n" : "  " + plain(line) + "\n"; }
  void take_heading(std::string_view line) {
    end_paragraph();
    const auto level = line.find_first_not_of('#');
    // The title is the page's.
    heading_ = true;
    if (level > 1)
      text_ += (level == 2 ? ".SH \"" : ".SS \"") + from_markdown(line.substr(level + 1)) + "\"\n";
  }
  void take_row(std::string_view line) {
    end_paragraph();
    const auto cells = cells_of(line);
    if (cells.empty() || cells[0].starts_with("---")) return;
    // Of the head only the first column has a name: what the rows are.
    if (std::all_of(cells.begin() + 1, cells.end(), [](const auto& cell) { return cell.empty(); })) return;
    heading_ = false;
    text_ += ".TP\n" + from_markdown(cells[0]) + "\n";
    std::string about;
    for (std::size_t n = 1; n < cells.size(); ++n)
      about += (about.empty() ? "" : ": ") + from_markdown(cells[n]);
    text_ += about + ".\n";
  }
  void end_paragraph() {
    if (!paragraph_.empty()) text_ += (listed_ || heading_ ? "" : ".PP\n") + from_markdown(paragraph_) + "\n";
    heading_ = heading_ && paragraph_.empty();
    paragraph_.clear();
    listed_ = false;
  }

  std::string text_, paragraph_;
  bool in_code_ = false, listed_ = false;
  bool heading_ = true;  ///< A heading was the last thing; a paragraph begins there by itself.
};

}  // namespace

std::string config_page(std::string_view document, const Edition& edition) {
  Converter converter;
  for (const std::string_view line : lines_of(document)) converter.take(line);
  return page_head("pinfold.cfg", 5, edition.version, edition.date, "configuration of a guest of pinfold") +
         ".SH DESCRIPTION\n" + converter.end() +
         ".SH SEE ALSO\n.BR pinfold (1),\n.BR pinfold\\-run (1),\n.BR xl.cfg (5)\n";
}

}  // namespace pinfold::cli::manual
