#include "cli/networks/routes.hpp"

#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace pinfold::cli {
namespace {

// RTF_UP and RTF_REJECT of <linux/route.h>; the second also stands in the "unreachable" routes of IPv6.
constexpr unsigned long up = 0x1, reject = 0x200;

/// Both tables have a route in each line, numbers in hexadecimal. `zero` are the columns that are 0 in a
/// default route.
bool has_default(std::string_view table, std::initializer_list<std::size_t> zero, std::size_t flags_at) {
  const auto number = [](const std::string& text) {
    unsigned long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    const bool all_zeros = text.find_first_not_of('0') == std::string::npos;  // An address of IPv6 is longer.
    return all_zeros ? 0UL : error == std::errc() && end == text.data() + text.size() ? value : ~0UL;
  };
  std::istringstream lines{std::string(table)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    const std::vector<std::string> columns{std::istream_iterator<std::string>(words), {}};
    if (columns.size() <= flags_at) continue;
    bool is_default = true;
    for (const std::size_t column : zero) is_default = is_default && number(columns[column]) == 0;
    const unsigned long flags = number(columns[flags_at]);
    if (is_default && flags != ~0UL && (flags & (up | reject)) == up) return true;
  }
  return false;
}

std::string content_of(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

// Interface, destination, gateway, flags, …, mask (the 8th).
bool has_ipv4_default(std::string_view table) { return has_default(table, {1, 7}, 3); }

// Destination, its prefix's length, …, flags (the 9th), interface.
bool has_ipv6_default(std::string_view table) { return has_default(table, {0, 1}, 8); }

bool has_default_route() {
  return has_ipv4_default(content_of("/proc/net/route")) ||
         has_ipv6_default(content_of("/proc/net/ipv6_route"));
}

}  // namespace pinfold::cli
