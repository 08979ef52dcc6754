#include "vmm/memory/frame_holds.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <span>
#include <unordered_map>
#include <utility>

namespace pinfold::vmm {

/// All holds of a domain's frames, which outlives the FrameHolds if a SharedPage does. A hold whose pages are
/// all gone stays in it until its frame is released.
class FrameHolds::Ledger {
 public:
  explicit Ledger(OnWrongType on_wrong_type) : on_wrong_type_(std::move(on_wrong_type)) {}

  void enter(Page& page);
  /// The page's hold has ended. Afterwards it is the neighbours' frame, or has to be taken from here.
  void leave(Page& page);
  /// Holds that have ended, and are no longer in the ledger then: as many as fit. How many.
  template <std::size_t at_most>
  [[nodiscard]] std::size_t take(std::array<Hold, at_most>& ended);
  /// What was taken could not be released.
  void put_back(const std::vector<Hold>& ended);
  template <class Wanted>
  [[nodiscard]] std::vector<Mfn> frames(const Wanted& wanted) const;
  [[nodiscard]] std::uint64_t leave_to_neighbours(pvmmu::FrameTable& machine);

  [[nodiscard]] const std::atomic<bool>& has_ended() const { return has_ended_; }
  void tell_wrong_type(Mfn frame, pvmmu::FrameType type) const { on_wrong_type_(frame, type); }

 private:
  // These need the mutex.
  void end(Hold hold);
  template <class Visit>
  void visit_all(const Visit& visit) const;
  /// A neighbour's hold of a frame of a domain that is gone has ended.
  void end_left(Mfn frame);

  const OnWrongType on_wrong_type_;
  std::atomic<bool> has_ended_{false};
  mutable std::mutex mutex_;
  // Guarded by the mutex:
  Page* first_ = nullptr;  ///< The holds that last: each page names the ones beside it.
  std::vector<Hold> ended_;
  pvmmu::FrameTable* machine_ = nullptr;                   ///< Set when the domain is gone.
  std::unordered_map<std::uint64_t, std::uint64_t> left_;  ///< Then: how many holds each frame has.
};

/// One hold, as its SharedPages share it.
class FrameHolds::Page : public SharedPage::Hold {
 public:
  Page(std::shared_ptr<Ledger> ledger, FrameHolds::Hold of, std::byte* base_address,
       std::shared_ptr<const pvmmu::FrameFacts> frame_facts)
      : hold_(of), ledger_(std::move(ledger)) {
    base = base_address;
    facts = std::move(frame_facts);
    on_wrong_type = [this] { tell_wrong_type(); };
    ledger_->enter(*this);
  }
  ~Page() { ledger_->leave(*this); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  [[nodiscard]] const FrameHolds::Hold& hold() const { return hold_; }

 private:
  friend class Ledger;
  void tell_wrong_type() const {
    if (hold_.use == FrameUse::read) std::abort();
    ledger_->tell_wrong_type(hold_.frame, pvmmu::type_as_of_now(*facts));
  }

  const FrameHolds::Hold hold_;
  const std::shared_ptr<Ledger> ledger_;
  // The ledger's list, guarded by its mutex.
  Page* previous_ = nullptr;
  Page* next_ = nullptr;
};

void FrameHolds::Ledger::enter(Page& page) {
  const std::lock_guard lock(mutex_);
  page.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &page;
  first_ = &page;
}

void FrameHolds::Ledger::leave(Page& page) {
  const std::lock_guard lock(mutex_);
  (page.previous_ != nullptr ? page.previous_->next_ : first_) = page.next_;
  if (page.next_ != nullptr) page.next_->previous_ = page.previous_;
  end(page.hold());
}

void FrameHolds::Ledger::end(Hold hold) {
  if (machine_ == nullptr) {
    ended_.push_back(hold);
    has_ended_.store(true, std::memory_order_release);
  } else if (hold.whom == For::neighbour) {
    end_left(hold.frame);
  }
}

void FrameHolds::Ledger::end_left(Mfn frame) {
  const auto found = left_.find(frame.raw());
  if (found == left_.end() || --found->second != 0) return;
  left_.erase(found);
  machine_->give_back(frame);
}

template <std::size_t at_most>
std::size_t FrameHolds::Ledger::take(std::array<Hold, at_most>& ended) {
  const std::lock_guard lock(mutex_);
  const std::size_t count = std::min(at_most, ended_.size());
  std::copy(ended_.end() - static_cast<std::ptrdiff_t>(count), ended_.end(), ended.begin());
  ended_.resize(ended_.size() - count);
  has_ended_.store(!ended_.empty(), std::memory_order_relaxed);
  return count;
}

void FrameHolds::Ledger::put_back(const std::vector<Hold>& ended) {
  const std::lock_guard lock(mutex_);
  for (const Hold hold : ended) end(hold);
}

template <class Visit>
void FrameHolds::Ledger::visit_all(const Visit& visit) const {
  for (const Page* page = first_; page != nullptr; page = page->next_) visit(page->hold());
  for (const Hold hold : ended_) visit(hold);
}

template <class Wanted>
std::vector<Mfn> FrameHolds::Ledger::frames(const Wanted& wanted) const {
  const std::lock_guard lock(mutex_);
  std::vector<Mfn> found;
  visit_all([&](Hold hold) {
    if (wanted(hold)) found.push_back(hold.frame);
  });
  return found;
}

std::uint64_t FrameHolds::Ledger::leave_to_neighbours(pvmmu::FrameTable& machine) {
  const std::lock_guard lock(mutex_);
  machine_ = &machine;
  visit_all([&](Hold hold) {
    if (hold.whom == For::neighbour) ++left_[hold.frame.raw()];
  });
  const std::uint64_t frames = left_.size();
  // Those that ended while the domain was taken apart.
  for (const Hold hold : std::exchange(ended_, {})) end(hold);
  return frames;
}

FrameHolds::FrameHolds(pvmmu::Validator& mmu, OnWrongType on_wrong_type)
    : mmu_(mmu),
      ledger_(std::make_shared<Ledger>(std::move(on_wrong_type))),
      has_ended_(ledger_->has_ended()) {}

tl::expected<SharedPage, pvmmu::Refusal> FrameHolds::hold(pvmmu::Held held, Mfn frame, For whom,
                                                          FrameUse use) {
  settle(held);
  const auto taken = use == FrameUse::read ? mmu_.hold_readable(held, frame)
                                           : mmu_.hold(held, frame, pvmmu::FrameType::writable);
  if (!taken) return tl::unexpected(taken.error());
  return page_of({frame, whom, use});
}

std::optional<SharedPage> FrameHolds::try_hold(pvmmu::Shared shared, Mfn frame, For whom, FrameUse use) {
  const bool taken =
      use == FrameUse::read ? mmu_.try_hold_readable(shared, frame) : mmu_.try_hold_writable(shared, frame);
  if (!taken) return std::nullopt;
  return page_of({frame, whom, use});
}

/// A frame of a domain that is gone keeps the type `writable` for good: a page that outlasts the domain never
/// calls on_wrong_type.
SharedPage FrameHolds::page_of(Hold hold) {
  // No type of a frame that is held for reading permits a write.
  static const pvmmu::FrameFacts never_written;
  return SharedPage(std::make_shared<Page>(
      ledger_, hold, mmu_.machine().page(hold.frame.raw()),
      hold.use == FrameUse::read
          ? std::shared_ptr<const pvmmu::FrameFacts>(std::shared_ptr<void>(), &never_written)
          : mmu_.lasting_facts(hold.frame)));
}

void FrameHolds::settle_now(pvmmu::Held held) {
  std::array<Hold, 8> ended;
  std::size_t count = 0;
  do {
    count = ledger_->take(ended);
    for (const Hold hold : std::span(ended).first(count)) {
      if (hold.use == FrameUse::read)
        mmu_.release_readable(held, hold.frame);
      else
        mmu_.release(held, hold.frame);
    }
  } while (count == ended.size());
}

bool FrameHolds::try_settle(pvmmu::Shared shared) {
  if (!has_ended_.load(std::memory_order_acquire)) return true;
  std::vector<Hold> kept;
  std::array<Hold, 8> ended;
  std::size_t count = 0;
  do {
    count = ledger_->take(ended);
    for (const Hold hold : std::span(ended).first(count)) {
      const bool released = hold.use == FrameUse::read ? mmu_.try_release_readable(shared, hold.frame)
                                                       : mmu_.try_release_writable(shared, hold.frame);
      if (!released) kept.push_back(hold);
    }
  } while (count == ended.size());
  ledger_->put_back(kept);
  return kept.empty();
}

std::uint64_t FrameHolds::leave_to_neighbours(pvmmu::Held, pvmmu::FrameTable& machine) {
  return ledger_->leave_to_neighbours(machine);
}

std::vector<Mfn> FrameHolds::frames(FrameUse use) const {
  return ledger_->frames([&](Hold hold) { return hold.use == use; });
}

std::vector<Mfn> FrameHolds::frames(For whom) const {
  return ledger_->frames([&](Hold hold) { return hold.whom == whom; });
}

std::vector<Mfn> FrameHolds::frames(For whom, FrameUse use) const {
  return ledger_->frames([&](Hold hold) { return hold.whom == whom && hold.use == use; });
}

Errno error_of_hold(const pvmmu::Refusal& refusal) {
  const bool is_owned =
      refusal.rule != pvmmu::Rule::frame_not_owned && refusal.rule != pvmmu::Rule::frame_out_of_range;
  return is_owned ? Errno::ebusy : Errno::einval;
}

tl::expected<SharedPage, Errno> DomainFrameHolder::hold(Mfn frame, FrameUse use) {
  {
    const pvmmu::DomainShare share(sharer_);
    (void)holds_.try_settle(share);  // what is left of it needs the lock alone, and is not much
    if (auto page = holds_.try_hold(share, frame, whom_, use)) return std::move(*page);
  }
  const pvmmu::DomainLock lock(mutex_);
  auto page = holds_.hold(lock, frame, whom_, use);
  if (!page) return fail(error_of_hold(page.error()));
  return std::move(*page);
}

void DomainFrameHolder::settle() {
  {
    const pvmmu::DomainShare share(sharer_);
    if (holds_.try_settle(share)) return;
  }
  const pvmmu::DomainLock lock(mutex_);
  holds_.settle(lock);
}

}  // namespace pinfold::vmm
