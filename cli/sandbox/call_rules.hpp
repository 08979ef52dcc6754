// The one table of system calls that a monitor may make, and why. The filters and docs/sandbox.md are made of
// it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "pvmmu/service_thread.hpp"

namespace pinfold::sandbox {

/// A set of kinds of threads; `preparing` is the main thread between its confinement and the guest's first
/// instruction, and each other thread until it is of its kind.
using Kinds = std::uint16_t;
constexpr Kinds kind_bit(ThreadKind kind) { return static_cast<Kinds>(1U << static_cast<unsigned>(kind)); }
constexpr unsigned all_thread_kinds = 5;
constexpr Kinds preparing = 1U << all_thread_kinds;
/// Processes beside the monitor (helper.hpp).
constexpr Kinds unpacking = 1U << 6, reading = 1U << 7, keeping = 1U << 8;
/// Kinds that serve a guest. `machine`, which makes threads of them, has their filters under theirs: it may
/// do what any of them may.
constexpr Kinds serving = kind_bit(ThreadKind::vcpu) | kind_bit(ThreadKind::io) |
                          kind_bit(ThreadKind::control) | kind_bit(ThreadKind::log);

/// Holds of an argument a if (a & mask) == value.
struct Condition {
  enum class Kind : std::uint8_t { none, masked, own_process };
  Kind kind = Kind::none;
  std::uint8_t argument = 0;
  std::uint64_t mask = 0;
  std::uint64_t value = 0;
  const char* text = "";  ///< For the document.
};

struct CallRule {
  int number;
  Kinds kinds;
  std::array<Condition, 2> only_if;
  const char* reason;
};

/// Several rules of one call: any of them allows it. The first rule is the most
/// frequent call's; it has one condition, of 32 bits.
[[nodiscard]] std::span<const CallRule> call_rules();

/// "vcpu", "io", "control", "log", "machine".
[[nodiscard]] const char* name_of(ThreadKind kind);

}  // namespace pinfold::sandbox
