// The validator's answer: done, or a refusal that says which rule, about which entry and which frame.
#pragma once

#include <string>

#include "pvmmu/frame.hpp"
#include "pvmmu/rules.hpp"

namespace pinfold::pvmmu {

/// Why a change was refused. A value: it holds the frame's state as it was at the refusal.
struct Refusal {
  Rule rule{};
  Mfn table = no_mfn;  ///< The table whose entry was to change; no_mfn when no entry was concerned.
  std::uint16_t slot = 0;
  Pte entry;           ///< The entry that was asked for.
  Mfn frame = no_mfn;  ///< The frame that stood in the way; no_mfn when none did.
  Frame state;         ///< Its record; of a foreign frame the owner alone. Meaningless past the machine.

  [[nodiscard]] Errno error() const { return info(rule).error; }
  /// One line for people.
  [[nodiscard]] std::string describe() const;
};

template <class T = void>
using Verdict = tl::expected<T, Refusal>;

}  // namespace pinfold::pvmmu
