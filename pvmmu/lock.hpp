// The domain's lock, held alone or shared, and the proofs of holding it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace pinfold::pvmmu {

class DomainLock;
class DomainSharer;

/// Proof that the caller holds the lock alone.
using Held = const DomainLock&;

/// Sharers of a domain's lock that are no threads of the monitor: code that runs in the domain's VM. They can
/// neither sleep nor be woken.
class SharersInVm {
 public:
  /// Once it returns none of them is inside, and none comes in until let_in(). Then it also does what those
  /// who were inside have left to the holder, whose proof this is. Whoever calls it has the lock's mutex.
  /// Returns whether it had to wait.
  virtual bool keep_out(Held held) = 0;
  virtual void let_in() = 0;

 protected:
  ~SharersInVm() = default;
};

/// Guards everything of one domain that its vCPUs share: frame records, tables, mirrors, roots, hypercall
/// state. Each domain has one; a vCPU takes it at its exit and releases it before it enters the guest or
/// sleeps.
///
/// Held alone (DomainLock) it permits everything. Shared (DomainShare) it permits the functions that take
/// `Shared`, above all Validator::update_concurrently; nobody holds it alone meanwhile. Each thread that may
/// share the lock has a flag in a cache line of its own, so that sharers write no line in common; whoever
/// wants the lock alone waits for all flags.
class DomainMutex {
 public:
  DomainMutex() = default;
  DomainMutex(const DomainMutex&) = delete;
  DomainMutex& operator=(const DomainMutex&) = delete;
  /// Do others wait? Then the holder may prefer to share it.
  [[nodiscard]] bool is_wanted() const { return waiting_.load(std::memory_order_relaxed) != 0; }
  /// These share the lock, too, from now on. They outlive it, or are taken away by null.
  void share_with(SharersInVm* in_vm);
  /// How often a thread that wanted the lock has had to wait for another one.
  [[nodiscard]] std::uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }

 private:
  friend class DomainLock;
  friend class DomainSharer;
  void lock(Held by);
  void lock_behind_others();
  void unlock();

  std::mutex mutex_;
  /// Somebody holds mutex_ and wants the sharers to leave. Stays false while no thread may share.
  alignas(64) std::atomic<bool> taken_{false};
  std::atomic<unsigned> waiting_{0};  ///< For mutex_.
  std::atomic<std::uint64_t> waits_{0};
  std::vector<DomainSharer*> sharers_;  ///< Guarded by mutex_.
  SharersInVm* in_vm_ = nullptr;        ///< As well.
};

/// Holding the domain's lock alone. A function that needs it takes `Held`, so it can't be called without.
class DomainLock {
 public:
  explicit DomainLock(DomainMutex& mutex) : mutex_(mutex) { lock(); }
  ~DomainLock() {
    if (locked_) mutex_.unlock();
  }
  DomainLock(const DomainLock&) = delete;
  DomainLock& operator=(const DomainLock&) = delete;
  void unlock() {
    locked_ = false;
    mutex_.unlock();
  }
  void lock() {
    mutex_.lock(*this);
    locked_ = true;
  }

 private:
  DomainMutex& mutex_;
  bool locked_ = false;
};

/// One thread's permission to share the domain's lock. The mutex outlives it; it is made and destroyed while
/// its thread does not hold the lock.
class alignas(64) DomainSharer {
 public:
  explicit DomainSharer(DomainMutex& mutex);
  ~DomainSharer();
  DomainSharer(const DomainSharer&) = delete;
  DomainSharer& operator=(const DomainSharer&) = delete;

 private:
  friend class DomainMutex;
  friend class DomainShare;
  void enter();
  void leave();
  /// Returns whether it had to wait.
  bool await_left();

  std::atomic<int> inside_{0};
  DomainMutex& mutex_;
};

/// Sharing the domain's lock with others. The thread must not hold the lock alone, nor ask for that while
/// this lives.
class DomainShare {
 public:
  explicit DomainShare(DomainSharer& sharer) : sharer_(sharer) { sharer_.enter(); }
  ~DomainShare() { sharer_.leave(); }
  DomainShare(const DomainShare&) = delete;
  DomainShare& operator=(const DomainShare&) = delete;

 private:
  DomainSharer& sharer_;
};

using Shared = const DomainShare&;

/// A lock for a few loads and stores: a thread that finds it taken yields until it is free.
class ShortLock {
 public:
  void lock() {
    while (taken_.test_and_set(std::memory_order_acquire)) wait();
  }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  void wait() const;
  std::atomic_flag taken_;
};

/// Guards the machine's pool of free frames, which all domains share. It is taken with or without a domain's
/// lock; while it is held nothing else is locked and nothing outside the pool is called. So two domains wait
/// for each other only as long as a frame changes hands.
class PoolMutex {
 public:
  PoolMutex() = default;

 private:
  friend class PoolLock;
  std::mutex mutex_;
};

/// Holding the pool's lock.
class PoolLock {
 public:
  explicit PoolLock(PoolMutex& mutex) : lock_(mutex.mutex_) {}

 private:
  std::lock_guard<std::mutex> lock_;
};

using PoolHeld = const PoolLock&;

}  // namespace pinfold::pvmmu
