// The metrics that there are: what each is called, what it means, and where in a monitor's answer it is.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pinfold::cli::metrics {

enum class Type : std::uint8_t { counter, gauge };

/// What a number of the answer counts, and so how it becomes one in Prometheus's base units.
enum class Unit : std::uint8_t { count, seconds, milliseconds, frames };

/// Which part of the answer a metric is made of.
enum class Shape : std::uint8_t {
  up,         ///< Nothing of it: did the monitor answer, so that the answer can be understood?
  info,       ///< The numbers by which the guest is known elsewhere, as labels.
  state,      ///< A word of which there are a few: 1 for the one that holds, 0 for the others.
  number,     ///< The number at `key`, or in the object at `key` at `inner`.
  group,      ///< The object at `key`: a number for each of the words of `label`.
  disk,       ///< The number `inner` of each device called "disk VDEV".
  interface,  ///< The number `inner` of each device called "vif NUMBER".
};

/// Metrics of one name (Prometheus's documentation, "Exposition formats").
struct Family {
  const char* name;
  Type type;
  const char* help;  ///< One line, without a backslash.
  Shape shape;
  const char* key = "";
  const char* inner = "";
  const char* label = "";  ///< Besides `guest`.
  Unit unit = Unit::count;
};

/// All of them, in the order in which they are printed.
[[nodiscard]] std::span<const Family> families();

/// The values that a label of a `group` or a `state` can have: "reason", "hypercall", "kind", "state".
[[nodiscard]] std::span<const std::string_view> words_of(const Family& family);

}  // namespace pinfold::cli::metrics
