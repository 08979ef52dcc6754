#include "cli/manual/manual.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/exit_codes.hpp"
#include "cli/manual/completion.hpp"
#include "cli/manual/pages.hpp"

namespace pinfold::cli::manual {
namespace {

std::string date() {
  const char* given = std::getenv("SOURCE_DATE_EPOCH");
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(given == nullptr ? std::time(nullptr) : std::atol(given)));
}

int complain(const std::filesystem::path& path, const char* what) {
  fmt::print(stderr, "pinfold: {}: {}\n", path.string(), what);
  return exit_bad_image;
}

}  // namespace

void add_manual(CLI::App& program, ManualOptions& options) {
  CLI::App* command = program.add_subcommand("manual", "")->group("");
  command->add_option("FOLDER", options.folder)->required();
  command->add_option("DOCUMENT", options.document)->required();
}

int write_manual(const CLI::App& program, const ManualOptions& options, const std::string& version) {
  std::ifstream file(options.document);
  std::ostringstream document;
  if (!file || !(document << file.rdbuf())) return complain(options.document, "not readable");
  const Edition edition{version, date()};
  const DescribedCommand itself = described(program);
  const auto commands = described_commands(program);
  std::map<std::filesystem::path, std::string> files{
      {"man1/pinfold.1", program_page(itself, commands, edition)},
      {"man5/pinfold.cfg.5", config_page(document.view(), edition)},
      {"completions/pinfold", bash_completion(itself, commands)},
      {"completions/_pinfold", zsh_completion(itself, commands)},
      {"completions/pinfold.fish", fish_completion(itself, commands)}};
  for (const DescribedCommand& command : commands)
    files["man1/pinfold-" + command.name + ".1"] = command_page(command, edition);
  for (const auto& [name, text] : files) {
    const auto path = options.folder / name;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    std::ofstream to(path);
    to << text;
    to.close();
    if (!to) return complain(path, "not writable");
  }
  return exit_powered_off;
}

}  // namespace pinfold::cli::manual
