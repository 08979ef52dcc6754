// The machine in a box: the real validators of two domains on a few frames. It can be put into any state, and
// its state can be read.
#pragma once

#include <functional>
#include <memory>

#include "choices.hpp"
#include "entries.hpp"
#include "pvmmu/audit.hpp"
#include "pvmmu/validator.hpp"
#include "state.hpp"

namespace pinfold::pvmmu::search {

/// Zeroed, page-aligned memory.
class PageMemory {
 public:
  explicit PageMemory(std::uint64_t pages)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(page_size, pages * page_size))), pages_(pages) {
    std::memset(bytes_.get(), 0, pages * page_size);
  }
  [[nodiscard]] Pages pages() const { return {bytes_.get(), pages_}; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
  std::uint64_t pages_;
};

/// The frames of one domain's view. The contents of a frame that becomes a table are chosen here, at the last
/// moment before they are checked.
class BoxView final : public FrameView {
 public:
  enum class Access : std::uint8_t { none, read_only, read_write };

  bool protect(Mfn mfn) override {
    if (!on_protect(mfn)) return false;
    access.at(mfn.raw()) = Access::read_only;
    return true;
  }
  void unprotect(Mfn mfn) override { access.at(mfn.raw()) = Access::read_write; }
  void grant(Mfn first, std::uint64_t count) override {
    for (std::uint64_t i = 0; i < count; ++i) access.at(first.raw() + i) = Access::read_write;
  }
  void revoke(Mfn mfn) override {
    if (on_revoke()) access.at(mfn.raw()) = Access::none;
  }
  [[nodiscard]] bool revoked(Mfn mfn) const override { return access.at(mfn.raw()) == Access::none; }
  [[nodiscard]] bool lend(Mfn, Loan) override { return false; }  // the search has no grants

  std::array<Access, most_frames> access{};
  std::function<bool(Mfn)> on_protect;
  std::function<bool()> on_revoke;
};

struct BoxDomain {
  BoxDomain(const Size& size, FrameTable& frames, const Pages& machine, const Pages& m2p, DomId id);

  BoxView view;
  PageMemory arena_memory;
  MirrorArena mirrors;
  StaleLog stale{true};
  Validator mmu;
  std::array<Mfn, 2> roots{no_mfn, no_mfn};
  Mfn data_hold = no_mfn, descriptor_hold = no_mfn;

 private:
  DomainMutex mutex_;
  DomainSharer sharer_{mutex_};

 public:
  DomainLock held;
  /// Updates entries as a vCPU does that shares the lock.
  std::size_t update_concurrently(std::span<const EntryUpdate> wanted);
};

class Box {
 public:
  explicit Box(const Size& size);

  /// Puts the machine into a state. Nothing is left of its previous state.
  void load(const State& state);
  /// The current state. Throws Finding if it is not a state that the search can represent.
  [[nodiscard]] State save() const;

  /// Sets the type that the next operation gives a plain frame first: a table or seg_desc. `briefly`: some
  /// contents are enough.
  void expect(FrameType type, bool briefly = false) {
    expected_ = type;
    briefly_ = briefly;
  }

  [[nodiscard]] BoxDomain& domain(std::size_t d) { return *domains_.at(d); }
  [[nodiscard]] const BoxDomain& domain(std::size_t d) const { return *domains_.at(d); }
  [[nodiscard]] const FrameTable& frames() const { return frames_; }
  /// What the owner of a frame knows of it.
  [[nodiscard]] Frame frame(Mfn mfn) const {
    const std::uint16_t owner = frames_.owner_tag(mfn);
    return owner != 0 ? domain(owner - 1U).mmu.frame(mfn) : Frame{};
  }
  [[nodiscard]] const Pages& machine() const { return machine_; }
  [[nodiscard]] const Size& size() const { return size_; }
  [[nodiscard]] const Alphabet& alphabet(std::size_t d, bool leaf) const {
    return alphabets_[d][leaf ? 1 : 0];
  }
  /// The mirror of a table, which may be one that is being released; no_mirror if it has none.
  [[nodiscard]] MirrorId mirror_of(std::size_t frame) const;
  [[nodiscard]] Pte guest(std::size_t frame, std::size_t which) const {
    return Pte(machine_.load(frame, slots[which]));
  }

  /// Chooses the entries of these interrupted tables that were not read yet.
  void choose_entries(const State& state, std::span<const std::uint8_t> tables);
  /// Another interrupted table of which an entry that was not chosen has been read since `state`, or 0. Such
  /// an entry is refused, so the table has changed.
  [[nodiscard]] std::uint8_t looked_at_unchosen(const State& state,
                                                std::span<const std::uint8_t> except) const;

  Choices choices;
  bool choosing = false;     ///< An operation runs. At other times the host never fails.
  bool frame_stuck = false;  ///< The host kept a frame in a view since this was last cleared.
  /// The contents that were chosen since this was last cleared.
  struct Chosen {
    Mfn frame;
    FrameType type;
    std::array<Pte, 2> contents;
  };
  std::vector<Chosen> chosen;

 private:
  bool protect(std::size_t d, Mfn mfn);
  bool revoke();
  [[nodiscard]] FrameType becoming() const;
  void load_pool(const State& state);
  void load_record(const State& state, std::size_t frame);
  void load_mirror(const State& state, std::size_t frame);
  void load_progress(const State& state, std::size_t d);
  void save_progress(State& state, std::size_t d) const;
  void save_contents(const Frame& frame, std::size_t number, FrameImage& image) const;
  [[nodiscard]] EntryCode save_mirror(std::size_t number, std::size_t which, Pte guest) const;

  Size size_;
  PageMemory memory_, m2p_memory_;
  Pages machine_;
  FrameTable frames_;
  std::array<std::unique_ptr<BoxDomain>, domains> domains_;
  std::array<std::array<Alphabet, 2>, domains> alphabets_;
  std::array<std::uint8_t, most_frames> owners_{};  ///< For which the alphabets were made.
  FrameType expected_ = FrameType::none;
  bool briefly_ = false;
  std::array<MirrorId, most_frames>
      release_mirrors_{};  ///< Of tables that are being released; while a state is loaded.
};

}  // namespace pinfold::pvmmu::search
