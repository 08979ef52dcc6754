// What the command line says when it is not understood.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pinfold::cli {

/// For an option that takes one of a few words. An error lists them as people write them: "a, b or c".
[[nodiscard]] CLI::Validator one_of(const std::vector<std::string>& words);

/// For an option that takes a size: a number of bytes, or with a unit behind it: K, M, G or T, powers of
/// 1024.
[[nodiscard]] CLI::Validator size_in_bytes();
/// The same for a guest's memory: a number without a unit is MiB, as for xl.
[[nodiscard]] CLI::Validator memory_size();

/// Adds an option that takes one of the words, and stores the value that the word stands for.
template <class T>
CLI::Option* add_choice(CLI::App& app, const std::string& name, T& to,
                        const std::map<std::string, T>& choices, const std::string& help) {
  std::vector<std::string> words;
  std::string shown;
  for (const auto& [word, value] : choices) {
    words.push_back(word);
    shown += (shown.empty() ? "" : "|") + word;
  }
  return app
      .add_option_function<std::string>(
          name, [&to, choices](const std::string& word) { to = choices.at(word); }, help)
      ->check(one_of(words))
      ->type_name(shown);
}

/// Says what is wrong with the words that a command was given, and where to look. The exit code.
int usage_error(const CLI::App& command, const std::string& what);

/// Parses the command line. The exit code if there is nothing more to do: the help or the version was
/// printed, or what was not understood and where to look. `app` has all its commands by then, and none of
/// them allows words that it does not know.
[[nodiscard]] std::optional<int> parse(CLI::App& app, int argc, const char* const* argv);

}  // namespace pinfold::cli
