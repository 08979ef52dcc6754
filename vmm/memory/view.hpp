// A domain's view: the host mapping behind its VM's memory slots. So it determines what EPT, NPT or KVM's
// shadow tables let the VM access.
#pragma once

#include <optional>
#include <vector>

#include "pvmmu/frame_view.hpp"
#include "vmm/memory/frame_mapping.hpp"

namespace pinfold::vmm {

/// A mapping of all that the machine has and can grow to, for one domain, and if wanted a second one, the
/// *windows*: the same frames at other addresses, for code at CPL0 of the VM, which may write some of the
/// domain's own frames there that are read-only in the first. The machine outlives it.
///
/// A frame that is revoked gives its memory back to the host: this is what a guest's balloon is for. A frame
/// that was lent keeps it: it is another domain's.
class View final : public pvmmu::FrameView {
 public:
  [[nodiscard]] static MemoryResult<std::unique_ptr<View>> create(const Machine& machine, WriteProtection how,
                                                                  bool with_windows = false);

  [[nodiscard]] bool protect(Mfn mfn) override;
  void unprotect(Mfn mfn) override;
  void grant(Mfn first, std::uint64_t count) override;
  void revoke(Mfn mfn) override;
  [[nodiscard]] bool revoke_run(Mfn first, std::uint64_t count) override;
  [[nodiscard]] bool revoked(Mfn mfn) const override { return mfn != stuck_; }
  [[nodiscard]] bool lend(Mfn mfn, pvmmu::Loan loan) override;
  [[nodiscard]] bool open_window(Mfn mfn) override;
  [[nodiscard]] bool close_window(Mfn mfn) override;
  [[nodiscard]] bool is_window_open(Mfn mfn) const override {
    return mfn.raw() < open_.size() && open_[mfn.raw()];
  }

  /// Makes the host map the frames around this one that the domain may write to. Does so once for each
  /// part of `fault_around_frames`.
  void fault_around(Mfn mfn);
  static constexpr std::uint64_t fault_around_frames = 64;

  /// The domain will not run again: later changes are skipped.
  void close() { closed_ = true; }
  [[nodiscard]] bool closed() const { return closed_; }

  [[nodiscard]] std::byte* base() const { return frames_.base(); }
  [[nodiscard]] std::size_t size() const { return frames_.size(); }
  /// Where the windows are; null without.
  [[nodiscard]] std::byte* windows() const { return windows_ ? windows_->base() : nullptr; }
  /// Has every frame of the domain's its window, open or closed? If not, nobody may use any.
  [[nodiscard]] const bool& windows_complete() const { return windows_complete_; }
  [[nodiscard]] WriteProtection protection() const { return how_; }
  [[nodiscard]] std::uint64_t changes() const { return frames_.changes(); }
  /// Of the windows.
  [[nodiscard]] std::uint64_t window_changes() const { return windows_ ? windows_->changes() : 0; }

 private:
  struct Parts;
  explicit View(Parts parts);
  [[nodiscard]] bool set(Mfn first, Mapping::Access access, std::uint64_t count = 1) {
    return closed_ || count == 0 || frames_.set(first, access, count);
  }
  /// Nobody reaches these frames by the windows any more.
  [[nodiscard]] bool remove_windows(Mfn first, std::uint64_t count);
  void note_open(Mfn mfn, bool open);

  const Machine& machine_;
  std::unique_ptr<MappingBudget::Share> share_;
  FrameMapping frames_;
  std::optional<FrameMapping> windows_;
  std::vector<bool> open_;  ///< Windows.
  WriteProtection how_;
  bool windows_complete_ = true;
  bool closed_ = false;
  Mfn stuck_ = no_mfn;            ///< The frame of the last revoke(), if it failed.
  std::vector<bool> brought_in_;  ///< Parts for which fault_around() was called.
};

}  // namespace pinfold::vmm
