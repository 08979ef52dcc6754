#include "cli/usage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "cli/exit_codes.hpp"

namespace pinfold::cli {
namespace {

/// The command that was given, or the program itself.
const CLI::App& innermost(const CLI::App& app) {
  const CLI::App* command = &app;
  for (auto given = command->get_subcommands(); !given.empty(); given = command->get_subcommands())
    command = given.front();
  return *command;
}

/// A message about the first unknown word; empty if all are known.
std::string unknown_word(const CLI::App& app, const CLI::App& command) {
  const auto left = app.remaining(true);
  if (left.empty()) return {};
  if (left.front().starts_with('-')) return "unknown option: " + left.front();
  return (&command == &app ? "unknown command: " : "not understood: ") + left.front();
}

}  // namespace

CLI::Validator one_of(const std::vector<std::string>& words) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i)
    list += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return {[words, list](std::string& word) {
            return std::ranges::count(words, word) != 0 ? std::string()
                                                        : fmt::format("{}, not {}", list, word);
          },
          ""};
}

namespace {

/// Replaces a size by its number of bytes. Returns what is wrong with it; empty: nothing.
std::string to_bytes(std::string& text) {
  const std::string given = text;
  try {
    const CLI::AsSizeValue number(false);
    if (number(text).empty()) return {};
  } catch (const CLI::ValidationError&) {
  }
  return fmt::format("a size such as 512M or 4G, not {}", given);
}

}  // namespace

CLI::Validator size_in_bytes() { return {to_bytes, ""}; }

CLI::Validator memory_size() {
  return {[](std::string& text) {
            const bool digits_alone =
                !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
            if (digits_alone) text += "M";
            return to_bytes(text);
          },
          ""};
}

int usage_error(const CLI::App& command, const std::string& what) {
  const bool in_command = command.get_parent() != nullptr;
  const std::string name = in_command ? "pinfold " + command.get_name() : "pinfold";
  fmt::print(stderr, "{}: {}\n", name, what);
  fmt::print(stderr, "`{} --help` lists the {}.\n", name, in_command ? "options" : "commands");
  return exit_usage;
}

std::optional<int> parse(CLI::App& app, int argc, const char* const* argv) {
  // CLI11 would look for what is required first, and not name the mistyped word that was meant for it.
  app.allow_extras();
  for (CLI::App* command : app.get_subcommands({})) command->allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    const CLI::App& command = innermost(app);
    const bool required = error.get_name() == "RequiredError";
    if (auto word = unknown_word(app, command); required && !word.empty()) return usage_error(command, word);
    if (required && &command == &app) return usage_error(command, "a command is missing");
    return usage_error(command, error.what());
  }
  const CLI::App& command = innermost(app);
  if (auto word = unknown_word(app, command); !word.empty()) return usage_error(command, word);
  return std::nullopt;
}

}  // namespace pinfold::cli
