#include "cli/system_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "loader/load_error.hpp"

namespace pinfold::cli {
namespace {

constexpr std::uint64_t farthest = 1 << 20;  ///< Bytes past the last function that still are its.
constexpr std::size_t longest_name = 512;    ///< Linux: KSYM_NAME_LEN, include/linux/kallsyms.h.

}  // namespace

SystemMap SystemMap::parse(std::string_view text) {
  SystemMap map;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::uint64_t address = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
    const std::string_view after(rest, static_cast<std::size_t>(line.data() + line.size() - rest));
    if (error != std::errc() || after.size() < 4 || after[0] != ' ' || after[2] != ' ') continue;
    if (std::string_view("tTwW").find(after[1]) == std::string_view::npos) continue;
    // A copy of a guest's kallsyms holds what the guest likes.
    const std::string name =
        loader::printable(after.substr(3, after.find_first_of(" \t\r", 3) - 3), longest_name);
    if (name.empty()) continue;
    map.functions_.push_back(
        {address, static_cast<std::uint32_t>(map.names_.size()), static_cast<std::uint32_t>(name.size())});
    map.names_ += name;
  }
  std::ranges::stable_sort(map.functions_, {}, &Function::address);
  return map;
}

std::optional<SystemMap::Place> SystemMap::find(std::uint64_t address) const {
  auto next = std::ranges::upper_bound(functions_, address, {}, &Function::address);
  if (next == functions_.begin()) return std::nullopt;
  // Of several names of one address, the first: aliases come later.
  const std::uint64_t begin = std::prev(next)->address;
  if (next == functions_.end() && address - begin > farthest) return std::nullopt;
  const auto at = std::ranges::lower_bound(functions_, begin, {}, &Function::address);
  return Place{std::string_view(names_).substr(at->name, at->length), address - begin};
}

std::string SystemMap::describe(std::uint64_t address) const {
  const auto place = find(address);
  return place ? fmt::format("{}+{:#x}", place->name, place->offset) : fmt::format("{:#x}", address);
}

}  // namespace pinfold::cli
