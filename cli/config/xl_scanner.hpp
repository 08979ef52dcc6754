// Finds the keys of an xl.cfg and their lines: libxlutil has the values of keys that one asks for, but no
// list of the keys that there are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pinfold::cli {

/// A key at the top level of the file.
struct XlKey {
  std::string name;
  unsigned line = 0;                 ///< Of the assignment that counts: the last one with "=".
  std::vector<unsigned> item_lines;  ///< For a list, the lines in which its items begin.
  std::vector<unsigned> replaced;    ///< Lines of earlier assignments, which have no effect.
  bool is_added = false;             ///< Something was added to it with "+=".
};

/// More are no configuration: xl has about 200.
inline constexpr std::size_t most_keys = 4096;

/// The keys in the order in which they appear first. It takes any text and ends in time linear in its length;
/// for a text that libxlutil accepts, it finds exactly the keys that the library finds.
[[nodiscard]] std::vector<XlKey> scan_keys(std::string_view text);

}  // namespace pinfold::cli
