// How the domains of one machine find each other.
#pragma once

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// What the domains of a machine have for each other, by domain ID: a `Part` of each, such as its grant
/// table. A domain is found from join() to leave(), which its own threads call. leave() waits until nobody
/// visits the domain any more. So a visitor may use the part, and whatever the domain has as long as its
/// devices are attached; a domain that ends is not found any more, and waits only for visits under way.
///
/// Concurrency: any thread may call anything, with these rules, by which no two domains wait for each other:
///
/// - A thread holds the lock of one domain at most. Who visits another domain from a hypercall releases the
///   lock of its own domain before, and takes it again after the visit (call.held->unlock(), lock()).
/// - A visit is short: it does not wait for a guest, and its thread makes no other visit meanwhile.
/// - leave() is called without any domain's lock, and not by a visitor.
template <class Part>
class Neighbours {
 public:
  /// Keeps the domain there. Empty if there is none.
  class Visit {
   public:
    Visit() = default;
    Visit(Visit&& other) noexcept
        : all_(std::exchange(other.all_, nullptr)), domain_(other.domain_), part_(other.part_) {}
    Visit& operator=(Visit&&) = delete;
    ~Visit() {
      if (all_ != nullptr) all_->end_visit(domain_);
    }
    [[nodiscard]] explicit operator bool() const { return all_ != nullptr; }
    Part& operator*() const { return *part_; }
    Part* operator->() const { return part_; }

   private:
    friend class Neighbours;
    Visit(Neighbours& all, DomId domain, Part& part) : all_(&all), domain_(domain), part_(&part) {}
    Neighbours* all_ = nullptr;
    DomId domain_;
    Part* part_ = nullptr;
  };

  Neighbours() = default;
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

  /// A second domain with one ID is a bug of the caller: the program stops.
  void join(DomId domain, Part& part) {
    const std::lock_guard lock(mutex_);
    if (!domains_.try_emplace(domain, Entry{&part}).second) std::abort();
  }
  /// Nothing happens if the domain is not there.
  void leave(DomId domain) {
    std::unique_lock lock(mutex_);
    const auto found = domains_.find(domain);
    if (found == domains_.end()) return;
    found->second.leaving = true;
    visit_ended_.wait(lock, [&] { return found->second.visits == 0; });
    domains_.erase(found);
  }
  [[nodiscard]] Visit visit(DomId domain) {
    const std::lock_guard lock(mutex_);
    const auto found = domains_.find(domain);
    if (found == domains_.end() || found->second.leaving) return {};
    ++found->second.visits;
    return Visit(*this, domain, *found->second.part);
  }

 private:
  struct Entry {
    Part* part;
    unsigned visits = 0;
    bool leaving = false;
  };
  void end_visit(DomId domain) {
    const std::lock_guard lock(mutex_);
    Entry& entry = domains_.at(domain);
    if (--entry.visits == 0 && entry.leaving) visit_ended_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable visit_ended_;
  std::unordered_map<DomId, Entry> domains_;
};

}  // namespace pinfold::vmm
