#include "cli/options_of_each.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace pinfold::cli {
namespace {

using Failed = tl::unexpected<std::string>;

constexpr std::string_view its_name = "%n";

bool has_name(std::string_view file) { return file.find(its_name) != std::string_view::npos; }

std::string with_name(std::string file, const std::string& name) {
  for (std::size_t at = 0; (at = file.find(its_name, at)) != std::string::npos; at += name.size())
    file.replace(at, its_name.size(), name);
  return file;
}

/// NAME and PLACE of NAME=PLACE; without a name, the first is empty. A name may contain `=`, and so may a
/// path.
std::pair<std::string, std::string> parts_of(const std::string& word) {
  const auto end = std::min(word.find("=unix:"), word.find("=tcp:"));
  if (end == std::string::npos) return {"", word};
  return {word.substr(0, end), word.substr(end + 1)};
}

}  // namespace

tl::expected<void, std::string> give_debuggers(MachineOptions& machine,
                                               const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    const auto [name, place] = parts_of(word);
    if (name.empty() && machine.size() > 1)
      return Failed("--gdb " + word + ": of which guest? NAME=" + word + " is meant");
    const auto guest =
        std::find_if(machine.begin(), machine.end(), [&wanted = name](const RunOptions& options) {
          return wanted.empty() || options.guest.name == wanted;
        });
    if (guest == machine.end()) return Failed("--gdb " + word + ": there is no guest " + name);
    if (!guest->watch.gdb.empty()) return Failed("--gdb " + word + ": one debugger a guest");
    guest->watch.gdb = place;
  }
  // A debugger wants to see every trap.
  if (!words.empty())
    for (RunOptions& options : machine) options.host.plain_gate = true;
  return {};
}

const char* option_with_one_file(const MachineOptions& machine) {
  if (machine.size() == 1) return nullptr;
  const RunOptions& options = machine.front();
  if (!options.console.log.empty() && !has_name(options.console.log.native())) return "--console-log";
  return nullptr;
}

std::vector<std::string> names_of(const MachineOptions& machine) {
  std::vector<std::string> names;
  for (const RunOptions& options : machine) {
    const std::string by_itself = fmt::format("guest-{}", ::getpid());
    const std::string& given = options.guest.name;
    names.push_back(!given.empty()        ? given
                    : machine.size() == 1 ? by_itself
                                          : fmt::format("{}-{}", by_itself, names.size() + 1));
  }
  return names;
}

void name_files(RunOptions& options) {
  const std::string& name = options.guest.name;
  options.console.log = with_name(options.console.log.native(), name);
}

}  // namespace pinfold::cli
