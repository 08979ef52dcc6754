#include "cli/metrics/guest_page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "cli/config/guest_config.hpp"
#include "cli/metrics/families.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::cli::metrics {
namespace {

/// An answer that is not what a monitor says.
using Nonsense = tl::unexpected<std::string>;
using Done = tl::expected<void, std::string>;
/// A number as the format has it.
using Value = tl::expected<std::string, std::string>;

constexpr std::size_t most_devices = most_disks + most_vifs;
constexpr std::uint64_t most_frames = std::uint64_t{1} << 40;  // of an address of 52 bits
constexpr std::uint64_t most_domains = 0x7ff0;                 // DOMID_FIRST_RESERVED of xen.h
constexpr double longest = 1e12;                               // seconds or milliseconds

Nonsense nonsense(const char* key) {
  return Nonsense(fmt::format("the guest's monitor answered with something else: \"{}\"", key));
}

const Json* member(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

/// A number that is whole and not negative.
std::optional<std::uint64_t> count_of(const Json& number) {
  const bool whole =
      number.is_number_unsigned() || (number.is_number_integer() && number.get<std::int64_t>() >= 0);
  return whole ? std::optional(number.get<std::uint64_t>()) : std::nullopt;
}

Value value_of(const Json& number, const Family& family) {
  if (family.unit == Unit::count || family.unit == Unit::frames) {
    const auto whole = count_of(number);
    if (!whole) return nonsense(family.key);
    const std::uint64_t count = *whole;
    if (family.unit == Unit::count) return std::to_string(count);
    if (count > most_frames) return nonsense(family.key);
    return std::to_string(count * page_size);
  }
  if (!number.is_number()) return nonsense(family.key);
  const double time = number.get<double>();
  if (!(time >= 0 && time <= longest)) return nonsense(family.key);
  constexpr double ms = 1000;
  return fmt::format("{}", family.unit == Unit::milliseconds ? time / ms : time);
}

/// Is it "disk VDEV" or "vif NUMBER"? The second word, or nothing.
std::optional<std::string_view> device_name(std::string_view name, Shape shape) {
  const std::string_view kind = shape == Shape::disk ? "disk " : "vif ";
  constexpr std::size_t longest_name = 16;
  if (!name.starts_with(kind)) return std::nullopt;
  name.remove_prefix(kind.size());
  const bool plain = std::ranges::all_of(name, [shape](char c) {
    return (c >= '0' && c <= '9') || (shape == Shape::disk && c >= 'a' && c <= 'z');
  });
  if (name.empty() || name.size() > longest_name || !plain) return std::nullopt;
  return name;
}

std::size_t up_family() {
  const auto all = families();
  return static_cast<std::size_t>(std::ranges::find(all, Shape::up, &Family::shape) - all.begin());
}

/// Makes one guest's page.
class Maker {
 public:
  Maker(const RunningGuest& guest, const Json& answer) : guest_(guest), answer_(answer) {}

  tl::expected<Page, std::string> make() {
    for (family_ = 0; family_ < families().size(); ++family_)
      if (auto done = add(families()[family_]); !done) return tl::unexpected(done.error());
    return std::move(page_);
  }

 private:
  void sample(std::string_view value, std::vector<Label> labels = {}) {
    labels.insert(labels.begin(), {"guest", guest_.name});
    page_.add(family_, labels, value);
  }

  Done add(const Family& family) {
    if (family.shape == Shape::up) {
      sample("1");
      return {};
    }
    if (family.shape == Shape::info) return add_info();
    const Json* const found = member(answer_, family.key);
    if (found == nullptr) return {};
    switch (family.shape) {
      case Shape::state: return add_state(family, *found);
      case Shape::number: return add_number(family, *found);
      case Shape::group: return add_group(family, *found);
      case Shape::disk:
      case Shape::interface: return add_devices(family, *found);
      case Shape::up:
      case Shape::info: break;
    }
    return {};
  }

  Done add_info() {
    const Json* const domain = member(answer_, "domain");
    if (domain == nullptr) return {};
    const auto number = count_of(*domain);
    if (!number || *number >= most_domains) return nonsense("domain");
    sample("1", {{"id", std::to_string(guest_.note.id)},
                 {"domain", std::to_string(*number)},
                 {"monitor", std::to_string(guest_.note.monitor)},
                 {"life", std::to_string(guest_.note.life)}});
    return {};
  }

  Done add_state(const Family& family, const Json& word) {
    const auto states = words_of(family);
    if (!word.is_string() || std::ranges::find(states, word.get_ref<const std::string&>()) == states.end())
      return nonsense(family.key);
    for (const std::string_view state : states)
      sample(word == std::string(state) ? "1" : "0", {{family.label, state}});
    return {};
  }

  Done add_number(const Family& family, const Json& found) {
    const Json* number = &found;
    if (*family.inner != '\0') {
      if (!found.is_object()) return nonsense(family.key);
      number = member(found, family.inner);
      if (number == nullptr) return {};
    }
    return add_value(family, *number);
  }

  Done add_value(const Family& family, const Json& number, std::vector<Label> labels = {}) {
    const auto value = value_of(number, family);
    if (!value) return tl::unexpected(value.error());
    sample(*value, std::move(labels));
    return {};
  }

  Done add_group(const Family& family, const Json& group) {
    if (!group.is_object()) return nonsense(family.key);
    for (const std::string_view word : words_of(family)) {
      const Json* const number = member(group, word);
      if (number == nullptr) continue;
      if (auto done = add_value(family, *number, {{family.label, word}}); !done) return done;
    }
    return {};
  }

  Done add_devices(const Family& family, const Json& devices) {
    if (!devices.is_object() || devices.size() > most_devices) return nonsense(family.key);
    for (const auto& [name, counts] : devices.items()) {
      if (!counts.is_object()) return nonsense(family.key);
      const auto device = device_name(name, family.shape);
      if (!device) {
        if (device_name(name, Shape::disk) || device_name(name, Shape::interface)) continue;
        return nonsense(family.key);
      }
      const Json* const number = member(counts, family.inner);
      if (number == nullptr) continue;
      if (auto done = add_value(family, *number, {{family.label, *device}}); !done) return done;
    }
    return {};
  }

  const RunningGuest& guest_;
  const Json& answer_;
  std::size_t family_ = 0;
  Page page_;
};

}  // namespace

tl::expected<Page, std::string> page_of(const RunningGuest& guest, const Json& answer) {
  return Maker(guest, answer).make();
}

Page page_of(const std::vector<Asked>& guests, std::size_t most_bytes) {
  std::vector<std::optional<Page>> pages;
  std::size_t bytes = 0;
  for (const Asked& asked : guests) {
    const auto page = asked.answer.and_then(decode_answer).and_then([&](const Json& answer) {
      return page_of(asked.guest, answer);
    });
    pages.push_back(page ? std::optional(*page) : std::nullopt);
    bytes += page ? page->bytes() : 0;
  }
  Page all;
  for (std::size_t i = 0; i < guests.size(); ++i) {
    const bool takes_too_much =
        bytes > most_bytes && pages[i] && pages[i]->bytes() > most_bytes / guests.size();
    if (pages[i] && !takes_too_much)
      all.append(*pages[i]);
    else
      all.add(up_family(), {{"guest", guests[i].guest.name}}, "0");
  }
  return all;
}

}  // namespace pinfold::cli::metrics
