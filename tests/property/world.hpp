// The validator and the model side by side: each operation goes to both, and everything is compared
// afterwards.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fake_machine.hpp"
#include "model.hpp"
#include "native_resident.hpp"
#include "operation.hpp"

namespace pinfold::pvmmu::property {

/// How often each kind was accepted and refused.
struct Tally {
  std::array<std::uint64_t, kinds> accepted{}, refused{};
  /// Reads behind a linear entry, and those of them at which the processor faulted first.
  std::uint64_t linear_reads = 0, linear_faults = 0;
  std::array<std::uint64_t, resident_works> resident{};  ///< Updates by what the resident path did with them.
  std::uint64_t resident_va_updates = 0;                 ///< Updates by address that it finished.
};

/// For what is reported.
inline std::string at(Mfn mfn) { return "frame " + std::to_string(mfn.raw()); }

class World {
 public:
  /// `mirrors`: frames for mirrors of each domain; the model does not know that they can run out.
  explicit World(std::uint64_t mirrors = 2048);
  /// What differs after the operation; nullopt if nothing does.
  [[nodiscard]] std::optional<std::string> step(const Operation& op, Tally& tally);
  /// A store or access by a guest's processor, as in step(), without a comparison.
  void prepare(const Operation& op) {
    bool done = false;
    Tally unused;
    (void)apply_to_environment(op, done, unused);
  }
  /// Ends both domains, and returns what is left of them, which must be nothing.
  [[nodiscard]] std::optional<std::string> finish();

  /// Mirrors of a domain that wait for a flush.
  [[nodiscard]] std::size_t waiting_mirrors(int d) { return domain(d).mirrors.retired(); }

 private:
  /// What a processor may have cached of a table.
  struct Seen {
    MirrorId mirror;
    int owner = nobody;
    std::array<std::uint64_t, entries_per_table> entries{};
  };
  struct Outcome {
    std::optional<Errno> refused;
    Expected expected;
  };

  std::optional<std::string> run(const Operation& op, Tally& tally);
  Outcome apply(const Operation& op, Tally& tally);
  Outcome unmap_granted(const Operation& op);
  std::optional<std::string> apply_to_environment(const Operation& op, bool& done, Tally& tally);
  std::optional<std::string> allocate(const Operation& op, bool special);
  std::optional<std::string> allocate_extent(const Operation& op, std::uint64_t count);
  std::optional<std::string> touch(const Operation& op, Tally& tally);
  [[nodiscard]] OutsideReferences outside_of(int d) const;
  std::optional<std::string> compare(bool accepted);
  std::optional<std::string> compare_frame(Mfn mfn, const Use& use);
  std::optional<std::string> compare_content(Mfn mfn, const Use& use, bool accepted);
  std::optional<std::string> compare_accessed();
  std::optional<std::string> compare_mirrors(const Census& now);
  std::optional<std::string> compare_inventory(int d, Mfn mfn);
  std::optional<Pte> processors_walk(int d, Mfn root, GuestVaddr va);
  std::optional<std::string> read_linearly(const Operation& op, std::size_t which, Tally& tally);
  std::optional<std::string> explore(int d, MirrorId table, Level level, std::set<std::uint32_t>& known);
  std::optional<std::string> check_stale();
  void remember();
  void remember(int d, Mfn table, unsigned shift, MirrorId mirror);
  test::FakeDomain& domain(int d) { return d == 0 ? *first_ : *second_; }

  test::FakeMachine machine_{machine_frames};
  std::unique_ptr<test::FakeDomain> first_, second_;
  Model model_;
  std::array<std::array<Mfn, registers>, domains> roots_ = no_roots;
  std::map<std::pair<std::uint64_t, unsigned>, Seen> seen_;  ///< By table, and window (0: the mirror).
  std::array<std::set<std::uint32_t>, domains> retired_;
};

}  // namespace pinfold::pvmmu::property
