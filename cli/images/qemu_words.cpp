#include "cli/images/qemu_words.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "loader/load_error.hpp"

namespace pinfold::cli::images {

std::string why_no_qemu(const tools::ToolFailure& failure) {
  if (failure.is_missing)
    return failure.message + ", which images that are not raw need: `apt-get install qemu-utils` installs it";
  return fmt::format(
      "QEMU's programs can't be confined on this host ({}): `qemu-img convert -O raw` makes an image that "
      "needs none",
      failure.message);
}

std::string complaint_of(const tools::ConfinedTool& tool, std::string_view program) {
  std::string text = tools::text_of(tool.complaints(), 65536);
  while (text.ends_with('\n')) text.pop_back();
  // What is in use, QEMU says in two lines.
  std::replace(text.begin(), text.end(), '\n', ' ');
  const std::string own = std::string(program) + ": ";
  if (text.starts_with(own)) text.erase(0, own.size());
  if (text.empty()) return std::string(program) + " ended without a word";
  return fmt::format("{}: {}", program, loader::printable(text, 500));
}

bool is_of_system(const std::string& path) {
  constexpr std::array<std::string_view, 10> starts{
      "/proc/",  "/sys/",       "/usr/lib/",   "/usr/lib64/", "/lib/",
      "/lib64/", "/usr/share/", "/etc/ld.so.", "/etc/gnutls", "/dev/urandom"};
  return path == "/" ||
         std::any_of(starts.begin(), starts.end(), [&](auto start) { return path.starts_with(start); });
}

}  // namespace pinfold::cli::images
