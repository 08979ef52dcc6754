// The domain's lock, and the proof of holding it.
#pragma once

#include <mutex>

namespace pinfold::pvmmu {

/// Guards everything of one domain that its vCPUs share: frame records, tables, mirrors, roots, hypercall
/// state. One lock a domain; taken at a vCPU's exit, dropped before it enters the guest or sleeps.
class DomainMutex {
 public:
  DomainMutex() = default;

 private:
  friend class DomainLock;
  std::mutex mutex_;
};

/// Holding the domain's lock. A function that needs it takes `Held`, so it can't be called without.
class DomainLock {
 public:
  explicit DomainLock(DomainMutex& mutex) : lock_(mutex.mutex_) {}
  void unlock() { lock_.unlock(); }
  void lock() { lock_.lock(); }

 private:
  std::unique_lock<std::mutex> lock_;
};

using Held = const DomainLock&;

/// Guards the machine's pool of free frames, which all domains share. A leaf: taken with a domain's lock held
/// or without, and under it nothing else is locked and nobody else is called. So two domains wait for each
/// other only as long as a frame changes hands.
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
