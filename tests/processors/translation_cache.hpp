// What a processor may have cached of the page tables that it walks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fake_machine.hpp"

namespace pinfold::processors {

using pvmmu::MirrorId;
using pvmmu::Pte;

/// Which table each mirror or window of a domain stands for, and since when. A mirror that was given up and
/// taken again is another incarnation, even if the table is the same.
class Incarnations {
 public:
  /// After each operation.
  void observe(const pvmmu::test::FakeDomain& domain);
  /// The incarnation of a mirror that belongs to a table now; nullopt if it belongs to none.
  [[nodiscard]] std::optional<std::uint64_t> live(MirrorId mirror) const;

 private:
  struct Life {
    Mfn table = no_mfn;
    pvmmu::FrameType type{};
    unsigned shift = 0;  ///< Above 0: it is a window of the table.
    std::uint64_t incarnation = 0;
    bool operator==(const Life& other) const {
      return table == other.table && type == other.type && shift == other.shift;
    }
  };
  std::uint64_t next_ = 1;
  std::map<std::uint32_t, Life> live_;  ///< By mirror.
};

/// The translations of one processor: everything that it may have cached since its last flush. A processor
/// may walk speculatively at any moment, from any loaded root, so whatever was reachable once is cached. Real
/// processors cache less, never more (Intel SDM vol. 3, 4.10.2 and 4.10.3; AMD APM vol. 2, 5.5).
class TranslationCache {
 public:
  /// An entry of an upper level: in which mirror, and which mirror it leads to.
  struct Upper {
    MirrorId parent, child;
    std::uint64_t parents_incarnation = 0, childs_incarnation = 0;
    std::uint16_t slot = 0;
    pvmmu::Level level{};  ///< Of the parent.
    std::uint64_t permissions = 0;
    auto operator<=>(const Upper&) const = default;
  };
  struct Leaf {
    Mfn frame;
    bool writable = false;
    auto operator<=>(const Leaf&) const = default;
  };

  /// Adds all that is reachable from `roots` (mirrors), and from what is cached already, as the mirrors are
  /// now.
  void fill(const pvmmu::test::FakeDomain& domain, const Incarnations& tables,
            std::span<const MirrorId> roots);
  void flush() {
    uppers_.clear();
    leaves_.clear();
  }

  /// A cached entry that leads into a mirror which stands for another table by now.
  [[nodiscard]] std::optional<std::string> reused_table(const Incarnations& tables) const;
  /// A cached translation that gives access which the domain must not have, and which the view does not stop.
  [[nodiscard]] std::optional<std::string> forbidden_access(const pvmmu::test::FakeMachine& machine,
                                                            const pvmmu::test::FakeDomain& domain) const;
  /// A cached entry of an upper level whose table still exists, but which now allows less or leads elsewhere.
  [[nodiscard]] std::optional<std::string> outdated_upper(const pvmmu::test::FakeDomain& domain,
                                                          const Incarnations& tables) const;
  /// The mirrors of L1 tables that are cached.
  [[nodiscard]] std::vector<MirrorId> l1_tables() const;
  /// Is an upper-level entry of a table that has ended cached?
  [[nodiscard]] bool remembers_ended_tables(const Incarnations& tables) const;

 private:
  std::set<Upper> uppers_;
  std::set<Leaf> leaves_;
};

}  // namespace pinfold::processors
