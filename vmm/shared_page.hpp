// A page that the guest and the monitor both write at any time: rings, shared_info, vcpu_info.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "pvmmu/types.hpp"

namespace pinfold::vmm {

/// Atomic and by-value access to one shared page. The only way to such a page: no reference into it is ever
/// handed out, so a value that was read can't change afterwards. Offsets are bytes; an offset past the page,
/// or not aligned for T, is a bug of the caller (checked always).
class SharedPage {
 public:
  SharedPage() = default;
  /// `base` is the page in the monitor's own mapping, 4 KiB aligned, valid as long as this object is.
  explicit SharedPage(std::byte* base) : base_(base) {}

  [[nodiscard]] bool present() const { return base_ != nullptr; }

  template <class T>
  [[nodiscard]] T load(std::size_t offset, std::memory_order order = std::memory_order_seq_cst) const {
    return std::atomic_ref<T>(at<T>(offset)).load(order);
  }
  template <class T>
  void store(std::size_t offset, T value, std::memory_order order = std::memory_order_seq_cst) {
    std::atomic_ref<T>(at<T>(offset)).store(value, order);
  }
  template <class T>
  T exchange(std::size_t offset, T value) {
    return std::atomic_ref<T>(at<T>(offset)).exchange(value);
  }
  /// Sets bits; the old value.
  template <class T>
  T fetch_or(std::size_t offset, T bits) {
    return std::atomic_ref<T>(at<T>(offset)).fetch_or(bits);
  }
  /// Keeps only `bits`; the old value.
  template <class T>
  T fetch_and(std::size_t offset, T bits) {
    return std::atomic_ref<T>(at<T>(offset)).fetch_and(bits);
  }
  /// Stores `desired` if the value is still `expected`; whether it was. If not, `expected` is what it is now.
  template <class T>
  bool compare_exchange(std::size_t offset, T& expected, T desired) {
    return std::atomic_ref<T>(at<T>(offset)).compare_exchange_strong(expected, desired);
  }
  void copy_out(std::size_t offset, std::span<std::byte> to) const;
  void copy_in(std::size_t offset, std::span<const std::byte> from);

 private:
  template <class T>
  [[nodiscard]] T& at(std::size_t offset) const {
    check(offset, sizeof(T), alignof(T));
    return *reinterpret_cast<T*>(base_ + offset);
  }
  void check(std::size_t offset, std::size_t size, std::size_t alignment) const;

  std::byte* base_ = nullptr;
};

}  // namespace pinfold::vmm
