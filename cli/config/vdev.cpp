#include "cli/config/vdev.hpp"

#include <charconv>
#include <limits>

namespace pinfold::cli {
namespace {

/// Takes digits off the front. Nothing if there are none, or their number does not fit.
std::optional<std::uint32_t> take_number(std::string_view& text, int base = 10) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

struct Place {
  std::uint32_t disk = 0, partition = 0;
};

/// The highest disk and partition that each form of the number has room for.
constexpr Place most_xvd{(1 << 20) - 1, 255}, most_sd{15, 15}, most_hd{3, 63};

std::optional<Place> within(Place place, const Place& most) {
  if (place.disk > most.disk || place.partition > most.partition) return std::nullopt;
  return place;
}

/// "b" is disk 1, "aa" is disk 26; "b3" its partition 3. A partition has no leading zero.
std::optional<Place> letters_and_partition(std::string_view name, std::string_view prefix,
                                           const Place& most) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  std::uint32_t letters = 0;
  bool any = false;
  while (!name.empty() && name[0] >= 'a' && name[0] <= 'z') {
    letters = letters * 26 + static_cast<std::uint32_t>(name[0] - 'a') + 1;
    if (letters > most.disk + 1) return std::nullopt;
    any = true;
    name.remove_prefix(1);
  }
  if (!any) return std::nullopt;
  Place place{letters - 1, 0};
  if (!name.empty()) {
    if (name[0] == '0') return std::nullopt;
    const auto partition = take_number(name);
    if (!partition || !name.empty()) return std::nullopt;
    place.partition = *partition;
  }
  return within(place, most);
}

/// "d1p2", or "d1".
std::optional<Place> disk_and_partition(std::string_view name) {
  if (!name.starts_with('d')) return std::nullopt;
  name.remove_prefix(1);
  const auto disk = take_number(name);
  if (!disk) return std::nullopt;
  Place place{*disk, 0};
  if (!name.empty()) {
    if (name[0] != 'p') return std::nullopt;
    name.remove_prefix(1);
    const auto partition = take_number(name);
    if (!partition || !name.empty()) return std::nullopt;
    place.partition = *partition;
  }
  return within(place, most_xvd);
}

std::optional<std::uint32_t> plain_number(std::string_view name) {
  int base = 10;
  if (name.starts_with("0x") || name.starts_with("0X")) {
    base = 16;
    name.remove_prefix(2);
  } else if (name.starts_with('0')) {
    base = 8;
  }
  const auto number = take_number(name, base);
  if (!number || !name.empty() || *number == 0 || *number > std::numeric_limits<std::int32_t>::max())
    return std::nullopt;
  return number;
}

}  // namespace

std::optional<std::uint32_t> vdev_number(std::string_view name) {
  auto xvd = letters_and_partition(name, "xvd", most_xvd);
  if (!xvd) xvd = disk_and_partition(name);
  if (xvd && xvd->disk <= 15 && xvd->partition <= 15) return 202U << 8 | xvd->disk << 4 | xvd->partition;
  if (xvd) return 1U << 28 | xvd->disk << 8 | xvd->partition;
  if (const auto sd = letters_and_partition(name, "sd", most_sd))
    return 8U << 8 | sd->disk << 4 | sd->partition;
  if (const auto hd = letters_and_partition(name, "hd", most_hd))
    return (hd->disk < 2 ? 3U : 22U) << 8 | (hd->disk & 1) << 6 | hd->partition;
  return plain_number(name);
}

}  // namespace pinfold::cli
