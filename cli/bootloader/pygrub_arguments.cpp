#include "cli/bootloader/pygrub_arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace pinfold::cli::bootloader {
namespace {

enum class Meaning : std::uint8_t { interactive, quiet, entry, kernel, ramdisk, arguments, offset, none };

struct Option {
  std::string_view name;  ///< With its dashes.
  Meaning meaning;
  bool has_value;
};

/// In the order of pygrub's usage.
constexpr auto options = std::to_array<Option>({
    {"-q", Meaning::quiet, false},
    {"--quiet", Meaning::quiet, false},
    {"-i", Meaning::interactive, false},
    {"--interactive", Meaning::interactive, false},
    {"-l", Meaning::none, false},
    {"--list-entries", Meaning::none, false},
    {"-n", Meaning::none, false},
    {"--not-really", Meaning::none, false},
    {"--output", Meaning::none, true},
    {"--kernel", Meaning::kernel, true},
    {"--ramdisk", Meaning::ramdisk, true},
    {"--args", Meaning::arguments, true},
    {"--entry", Meaning::entry, true},
    {"--output-directory", Meaning::none, true},
    {"--output-format", Meaning::none, true},
    {"--runas", Meaning::none, true},
    {"--offset", Meaning::offset, true},
    {"--limit-memory", Meaning::none, true},
    {"--limit-fsize", Meaning::none, true},
    {"--debug", Meaning::none, false},
});

void apply(PygrubArguments& all, const Option& option, const std::string& value) {
  switch (option.meaning) {
    case Meaning::interactive: all.interactive = true; return;
    case Meaning::quiet: all.interactive = false; return;
    case Meaning::kernel: all.kernel = value; return;
    case Meaning::ramdisk: all.ramdisk = value; return;
    case Meaning::arguments: all.arguments = value; return;
    case Meaning::entry:
      all.entry = value;
      all.interactive = false;
      return;
    case Meaning::offset: {
      std::uint64_t bytes = 0;
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), bytes);
      if (error != std::errc() || end != value.data() + value.size())
        all.errors.push_back(fmt::format("{}: {} is no number of bytes", option.name, value));
      else
        all.offset_bytes = bytes;
      return;
    }
    case Meaning::none: break;
  }
  all.notices.push_back(fmt::format("{} has no effect here", option.name));
}

}  // namespace

PygrubArguments parse_pygrub_arguments(const std::vector<std::string>& words) {
  PygrubArguments all;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    const std::string_view name = std::string_view(word).substr(0, equals);
    const auto option = std::find_if(options.begin(), options.end(),
                                     [name](const Option& known) { return known.name == name; });
    if (option == options.end()) {
      all.notices.push_back(fmt::format("{} is not an option of pygrub that is known here", word));
    } else if (!option->has_value) {
      apply(all, *option, {});
    } else if (equals != std::string::npos) {
      apply(all, *option, word.substr(equals + 1));
    } else if (i + 1 < words.size()) {
      apply(all, *option, words[++i]);
    } else {
      all.errors.push_back(fmt::format("{} needs a value", word));
    }
  }
  return all;
}

bool is_pygrub(const std::string& bootloader) {
  return std::string_view(bootloader).substr(bootloader.find_last_of('/') + 1) == "pygrub";
}

}  // namespace pinfold::cli::bootloader
