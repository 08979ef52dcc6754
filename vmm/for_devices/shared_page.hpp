// A page that the guest and the monitor both write at any time: rings, shared_info, vcpu_info.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "pvmmu/frame.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// What a frame of a guest's is held for: to be only read, or written, too.
enum class FrameUse : std::uint8_t { read, write };

/// Atomic and by-value access to one shared page. No reference into the page is ever handed out, so a value
/// that was read can't change afterwards. Offsets are bytes; an offset past the page, or not aligned for T,
/// is a bug of the caller (checked always).
///
/// Copies share one hold. While any of them exists the frame is held `writable`, so it can't be a page table
/// or a descriptor page; the frame is released some time after the last copy is gone. Only FrameHolds makes a
/// SharedPage of a guest's memory.
///
/// A page that is held for reading stays the guest's all the same, but may be or become a table. To write it
/// is a bug of the caller: the program stops.
///
/// Each write looks at the frame's type once more. If it is not `writable`, the hold has failed: nothing is
/// written, and the domain ends with an isolation fault. Reads have no such check.
///
/// Concurrency: any thread may use, copy and drop SharedPages without a lock, each object by one thread at a
/// time.
class SharedPage {
 public:
  SharedPage() = default;
  /// A zeroed page that is no guest's memory. It lives as long as any copy.
  [[nodiscard]] static SharedPage of_monitor();

  [[nodiscard]] bool present() const { return hold_ != nullptr; }
  /// How many SharedPages share this one's hold, itself included.
  [[nodiscard]] std::size_t sharers() const { return static_cast<std::size_t>(hold_.use_count()); }

  template <class T>
  [[nodiscard]] T load(std::size_t offset, std::memory_order order = std::memory_order_seq_cst) const {
    return std::atomic_ref<T>(at<T>(offset)).load(order);
  }
  template <class T>
  void store(std::size_t offset, T value, std::memory_order order = std::memory_order_seq_cst) {
    T& place = at<T>(offset);
    if (may_be_written()) std::atomic_ref<T>(place).store(value, order);
  }
  /// The old value.
  template <class T>
  T exchange(std::size_t offset, T value) {
    T& place = at<T>(offset);
    return may_be_written() ? std::atomic_ref<T>(place).exchange(value) : load<T>(offset);
  }
  /// Sets bits; the old value.
  template <class T>
  T fetch_or(std::size_t offset, T bits) {
    T& place = at<T>(offset);
    return may_be_written() ? std::atomic_ref<T>(place).fetch_or(bits) : load<T>(offset);
  }
  /// Keeps only `bits`; the old value.
  template <class T>
  T fetch_and(std::size_t offset, T bits) {
    T& place = at<T>(offset);
    return may_be_written() ? std::atomic_ref<T>(place).fetch_and(bits) : load<T>(offset);
  }
  /// Stores `desired` if the value is still `expected`; whether it was. If not, `expected` is what it is now.
  template <class T>
  bool compare_exchange(std::size_t offset, T& expected, T desired) {
    T& place = at<T>(offset);
    if (may_be_written()) return std::atomic_ref<T>(place).compare_exchange_strong(expected, desired);
    // As if it had been stored where it could be: a caller that tries again comes to an end.
    const T wanted = expected;
    expected = load<T>(offset);
    return expected == wanted;
  }
  void copy_out(std::size_t offset, std::span<std::byte> to) const;
  void copy_in(std::size_t offset, std::span<const std::byte> from);
  /// Copies a part of another page, or of this one.
  void copy_from(std::size_t offset, const SharedPage& from, std::size_t from_offset, std::size_t size);
  /// The address of a part of the page, for a transfer by the host's kernel, which reads the part, or also
  /// writes it if `write`. The caller keeps this SharedPage until the transfer is done. Nothing if the kernel
  /// would write and the hold has failed. For devices/granted_page.cpp only.
  [[nodiscard]] std::optional<iovec> transfer_area(std::size_t offset, std::size_t size, bool write) const;

 private:
  friend class FrameHolds;

  /// What all copies share.
  struct Hold {
    std::byte* base = nullptr;  ///< The page in the monitor's own mapping, 4 KiB aligned.
    std::shared_ptr<const pvmmu::FrameFacts> facts;  ///< The frame's; null for a page of the monitor's own.
    std::function<void()> on_wrong_type;             ///< A write was left out.
  };
  explicit SharedPage(std::shared_ptr<const Hold> hold) : hold_(std::move(hold)) {}

  template <class T>
  [[nodiscard]] T& at(std::size_t offset) const {
    check(offset, sizeof(T), alignof(T));
    return *reinterpret_cast<T*>(hold_->base + offset);
  }
  void check(std::size_t offset, std::size_t size, std::size_t alignment) const;
  /// Does the frame's type permit a write now?
  [[nodiscard]] bool may_be_written() const {
    if (hold_->facts == nullptr || pvmmu::type_as_of_now(*hold_->facts) == pvmmu::FrameType::writable)
        [[likely]]
      return true;
    hold_->on_wrong_type();
    return false;
  }

  std::shared_ptr<const Hold> hold_;
};

}  // namespace pinfold::vmm
