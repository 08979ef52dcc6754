// A statement about one frame, true or false at each moment of a log.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "pvmmu/validator.hpp"

namespace pinfold::trace {

/// "FRAME:CONDITION[,CONDITION…]", all of which must hold: owned, free, pinned, unpinned, type=TYPE (none, l1
/// to l4, seg_desc, writable; of a frame that is relied upon as such), refs or types (the type count) with =,
/// < or > and a number. FRAME is decimal, or hexadecimal after 0x.
class Predicate {
 public:
  [[nodiscard]] static tl::expected<Predicate, std::string> parse(std::string_view text);
  [[nodiscard]] bool holds(const pvmmu::Validator& mmu) const;
  [[nodiscard]] Mfn frame() const { return frame_; }

 private:
  enum class What : std::uint8_t { owned, free, pinned, unpinned, type, refs, types };
  struct Condition {
    What what;
    char relation = '=';
    std::uint64_t number = 0;
  };
  [[nodiscard]] static bool meets(const pvmmu::Frame& frame, const Condition& condition);
  static tl::expected<Condition, std::string> condition_of(std::string_view text);

  Mfn frame_ = no_mfn;
  std::vector<Condition> conditions_;
};

}  // namespace pinfold::trace
