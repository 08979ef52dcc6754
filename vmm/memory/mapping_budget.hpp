// How many mappings of the monitor's process the views may take, so that a guest can't take them all.
#pragma once

#include <cstdint>
#include <mutex>

namespace pinfold::vmm {

/// The host lets a process have so many mappings and no more (vm.max_map_count in the kernel's
/// Documentation/admin-guide/sysctl/vm.rst), and a view takes one for each run of frames with the same
/// access: a guest decides how many. The budget keeps some back for the monitor itself, whose next allocation
/// would fail without, and some for each guest that the machine may have.
///
/// Concurrency: any thread may use it.
class MappingBudget {
 public:
  /// `limit`: vm.max_map_count, or 0 if it is not known. `views`: how many there may be.
  explicit MappingBudget(std::uint64_t limit, std::uint64_t views);

  /// What a view has of it. Takes and gives back in pieces, so that views that change at once share nothing.
  ///
  /// Concurrency: one thread at a time.
  class Share {
   public:
    explicit Share(MappingBudget& budget) : budget_(budget) {}
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;
    ~Share() { budget_.give_back(taken_, taken_); }

    /// The view needs `more` mappings, or -`more` fewer. False: there are none left for it, and it has what
    /// it had.
    [[nodiscard]] bool change(std::int64_t more);
    [[nodiscard]] std::uint64_t used() const { return used_; }

   private:
    MappingBudget& budget_;
    std::uint64_t taken_ = 0;  ///< From the budget.
    std::uint64_t used_ = 0;
  };

  /// What every view can have, whatever the others have.
  [[nodiscard]] std::uint64_t guaranteed() const { return guaranteed_; }
  /// What one view can have if the others have no more than is guaranteed.
  [[nodiscard]] std::uint64_t most() const { return most_; }

 private:
  /// Beyond what is guaranteed, a view takes from what is common to all.
  [[nodiscard]] std::uint64_t beyond(std::uint64_t taken) const {
    return taken > guaranteed_ ? taken - guaranteed_ : 0;
  }
  /// A view that had `had` takes `count` more.
  [[nodiscard]] bool take(std::uint64_t had, std::uint64_t count);
  void give_back(std::uint64_t had, std::uint64_t count);

  std::uint64_t guaranteed_, most_;
  std::mutex mutex_;
  std::uint64_t common_ = 0;
};

}  // namespace pinfold::vmm
