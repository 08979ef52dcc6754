// What the process that runs libxlutil is asked, and what it answers: one JSON object over a pipe.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <variant>
#include <vector>

namespace pinfold::cli {

/// A list's items: the text of a string or number; nothing for a list in the list.
using XlList = std::vector<std::optional<std::string>>;
using XlValue = std::variant<std::string, XlList>;
using XlValues = std::map<std::string, XlValue>;

/// What else is to be parsed: strings with a syntax of their own.
struct XlSpecs {
  std::vector<std::string> disks;  ///< As in `disk`.
  std::vector<std::string> rates;  ///< Of network interfaces, as in `rate=`.
};

/// What to parse.
struct XlRequest {
  std::string text;               ///< As prepare_config_text() leaves it.
  std::vector<std::string> keys;  ///< The keys of the text, whose values are wanted.
  /// The further strings, given the text's values. It is called in the other process.
  std::function<XlSpecs(const XlValues&)> specs;
};

/// Of libxl_device_disk, as xlu_disk_parse() fills it in.
struct XlDisk {
  std::string target, vdev, script, backend;
  std::string format, backend_type, specification;  ///< In libxl's words; empty: not given, or empty.
  bool read_only = false;
  bool cdrom = false;
  bool direct_io_safe = false;
  bool colo = false;
  std::optional<bool> discard;
};

/// A line of the text that the library does not accept.
struct XlSyntaxError {
  unsigned line = 0;  ///< 0: no particular one.
  std::string message;
};

struct XlAnswer {
  std::vector<XlSyntaxError> syntax_errors;  ///< If there are any, there is nothing else.
  XlValues values;
  std::vector<tl::expected<XlDisk, std::string>> disks;  ///< One for each string.
  std::vector<std::optional<std::string>> rate_errors;   ///< One for each rate; nothing: it is right.
};

/// More is no answer.
inline constexpr std::size_t longest_answer = 16 << 20;

[[nodiscard]] std::string encode_xl_answer(const XlAnswer& answer);
/// The answer, or what is wrong with it. It takes any bytes.
[[nodiscard]] tl::expected<XlAnswer, std::string> decode_xl_answer(std::string_view bytes);

}  // namespace pinfold::cli
