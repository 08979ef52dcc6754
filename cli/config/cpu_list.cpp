#include "cli/config/cpu_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pinfold::cli {
namespace {

using vmm::Processors;

struct Range {
  unsigned first = 0, last = 0;
};

std::string_view without_blanks(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::optional<unsigned> number_of(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number >= Processors::most)
    return std::nullopt;
  return number;
}

/// "3", "0-3". Nothing for anything else, a range from a higher number to a lower one included.
std::optional<Range> range_of(std::string_view text) {
  const auto dash = text.find('-');
  const auto first = number_of(text.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : number_of(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return Range{*first, *last};
}

/// Adds an item's processors, or takes them out. An error says what is wrong with it.
std::optional<std::string> apply(std::string_view item, const Processors& all, Processors& to) {
  const bool out = item.starts_with('^');
  const std::string_view what = out ? item.substr(1) : item;
  if (what.starts_with("node:") || what.starts_with("nodes:"))
    return fmt::format("{}: NUMA nodes are not known here; give their processors (lscpu shows them)", item);
  if (what == "all") {
    if (out) return std::string("^all: it leaves nothing");
    to.add(all);
    return std::nullopt;
  }
  const auto range = range_of(what);
  if (!range)
    return fmt::format("'{}' is not all, a processor or a range of them (0 to {}) such as 0-3", item,
                       Processors::most - 1);
  for (unsigned number = range->first; number <= range->last; ++number)
    out ? to.remove(number) : to.add(number);
  return std::nullopt;
}

}  // namespace

tl::expected<Processors, std::string> processors_of(std::string_view list, const Processors& all) {
  Processors chosen;
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    const std::string_view item = without_blanks(list.substr(start, end - start));
    start = end + 1;
    if (item.empty()) continue;  // as xl has it
    if (auto error = apply(item, all, chosen)) return tl::unexpected(std::move(*error));
  }
  if (chosen.empty()) return tl::unexpected(fmt::format("'{}' leaves no processor", list));
  if (const auto missing = chosen.first_outside(all))
    return tl::unexpected(
        fmt::format("processor {} is not among those that pinfold may use: {}", *missing, all.text()));
  return chosen;
}

tl::expected<std::vector<Processors>, std::string> processors_of(const CpuLists& lists, std::uint32_t vcpus,
                                                                 const Processors& all) {
  std::vector<Processors> chosen;
  if (lists.of_all) {
    const auto of_all = processors_of(*lists.of_all, all);
    if (!of_all) return tl::unexpected(of_all.error());
    chosen.assign(vcpus, *of_all);
    return chosen;
  }
  if (lists.of_each.empty()) return chosen;
  // Lists of vCPUs that the guest does not have are ignored, as xl ignores them.
  for (std::size_t vcpu = 0; vcpu < std::min<std::size_t>(vcpus, lists.of_each.size()); ++vcpu) {
    const auto of_one = processors_of(lists.of_each[vcpu], all);
    if (!of_one) return tl::unexpected(fmt::format("vCPU {}: {}", vcpu, of_one.error()));
    chosen.push_back(*of_one);
  }
  chosen.resize(vcpus, all);
  return chosen;
}

std::optional<std::string> error_in(const CpuLists& lists) {
  Processors any;
  for (unsigned number = 0; number < Processors::most; ++number) any.add(number);
  const auto chosen = processors_of(lists, static_cast<std::uint32_t>(lists.of_each.size()), any);
  if (chosen) return std::nullopt;
  return chosen.error();
}

}  // namespace pinfold::cli
