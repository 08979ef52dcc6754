// The operations of the validator, as the search tries them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "box.hpp"

namespace pinfold::pvmmu::search {

enum class Kind : std::uint8_t {
  update,
  update_preserving,    ///< A and D are kept.
  update_concurrently,  ///< By a vCPU that shares the domain's lock.
  update_by_store,
  update_va,
  pin,
  unpin,
  load_root,
  unload_root,
  hold,
  release,
  allocate,
  allocate_special,
  deallocate,
  check_exchange,
  clear_page,
  copy_page,
  write_descriptor,
  touch,  ///< An access through the page tables, by `value` 0 a read, by 1 a write.
  finish_releases,
};

inline constexpr std::uint64_t no_limit = 1ULL << 32;

/// One operation. The kind determines which fields are used, and how.
struct Operation {
  Kind kind{};
  std::uint8_t domain = 0;
  std::uint8_t frame = 0;
  std::uint8_t other = 0;            ///< copy_page: the source. Roots: the register.
  FrameType type = FrameType::none;  ///< What the operation asks for: pin, hold, load_root.
  std::size_t slot = 0;
  std::uint64_t value = 0;  ///< The entry or descriptor.
  GuestVaddr va;
  bool in_pieces = false;  ///< May take more than one entry, so it is tried with small budgets, too.
};

/// The result of an operation.
struct Outcome {
  bool accepted = false;
  bool unfinished = false;
  std::uint64_t spent = 0;  ///< How much of the budget.
  std::optional<Rule> rule;
};

/// All operations that are tried in a state, always in the same order.
[[nodiscard]] std::vector<Operation> operations(const Box& box, const State& state);
/// Runs the operation. Throws Finding if it was accepted but did not have its effect.
Outcome apply(Box& box, const Operation& op, std::uint64_t budget);
[[nodiscard]] std::string describe(const Operation& op, std::uint64_t budget);

}  // namespace pinfold::pvmmu::search
