// Stand-ins for the domain: pages, memory and vCPUs without a virtual machine.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "vmm/for_devices/events.hpp"
#include "vmm/for_devices/hypercall.hpp"
#include "vmm/for_devices/shared_page.hpp"

namespace pinfold::devices {

/// One zeroed page, which may be shared.
class FakePage {
 public:
  [[nodiscard]] vmm::SharedPage shared() const { return page_; }
  /// How many others have it.
  [[nodiscard]] std::size_t users() const { return page_.sharers() - 1; }

 private:
  vmm::SharedPage page_ = vmm::SharedPage::of_monitor();
};

class FakeTarget : public vmm::EventTarget {
 public:
  explicit FakeTarget(std::uint32_t vcpus) : vcpus_(vcpus), kicks(vcpus) {}

  [[nodiscard]] std::uint32_t vcpu_count() const override { return vcpus_; }
  [[nodiscard]] vmm::SharedPage shared_info() override { return info.shared(); }
  [[nodiscard]] vmm::VcpuInfoPlace vcpu_info(VcpuId vcpu) override {
    if (moved_to != nullptr && vcpu == moved) return {moved_to->shared(), 128};
    return {info.shared(), vcpu.raw() * std::size_t{64}};
  }
  void kick(VcpuId vcpu) override {
    if (ended) std::abort();
    ++kicks[vcpu.raw()];
  }
  void wake_pollers(Port) override {
    if (ended) std::abort();
    ++poller_wakes;
  }
  /// Frames below frame_count are the guest's data.
  static constexpr std::uint64_t frame_count = 200;
  [[nodiscard]] tl::expected<vmm::SharedPage, Errno> hold_frame(pvmmu::Held, Mfn frame) override {
    if (frame.raw() >= frame_count) return fail(Errno::einval);
    return frames[frame.raw()].shared();
  }
  [[nodiscard]] std::size_t frames_held() const {
    return std::accumulate(frames.begin(), frames.end(), std::size_t{0},
                           [](std::size_t sum, const FakePage& page) { return sum + page.users(); });
  }

  [[nodiscard]] bool pending(std::uint32_t port) {
    return (info.shared().load<std::uint64_t>(2048 + port / 64 * std::size_t{8}) >> (port % 64) & 1) != 0;
  }
  /// What a guest's upcall handler does: takes the upcall flag, the selector and the pending bits.
  void handle_upcall(VcpuId vcpu) {
    auto place = vcpu_info(vcpu);
    place.page.exchange(place.offset, std::uint8_t{0});
    auto selector = place.page.exchange(place.offset + 8, std::uint64_t{0});
    for (std::size_t w = 0; w < 64; ++w) {
      if ((selector >> w & 1) == 0) continue;
      const auto mask = info.shared().load<std::uint64_t>(2560 + w * 8);
      handled[w] +=
          static_cast<unsigned>(__builtin_popcountll(info.shared().fetch_and(2048 + w * 8, mask) & ~mask));
    }
  }
  [[nodiscard]] bool upcall_pending(VcpuId vcpu) {
    auto place = vcpu_info(vcpu);
    return place.page.load<std::uint8_t>(place.offset) != 0;
  }
  [[nodiscard]] std::uint64_t selector(VcpuId vcpu) {
    auto place = vcpu_info(vcpu);
    return place.page.load<std::uint64_t>(place.offset + 8);
  }
  void mask(std::uint32_t port) {
    info.shared().fetch_or(2560 + port / 64 * std::size_t{8}, std::uint64_t{1} << (port % 64));
  }

 private:
  std::uint32_t vcpus_;

 public:
  FakePage info;
  std::vector<std::atomic<int>> kicks;
  std::atomic<int> poller_wakes{0};
  std::atomic<bool> ended{false};  ///< Set by a test: who wakes its vCPUs then ends the program.
  std::vector<FakePage> frames{frame_count};
  std::array<unsigned, 64> handled{};
  VcpuId moved;
  FakePage* moved_to = nullptr;
};

/// The lock of a domain, which no other thread takes.
struct FakeLock {
  pvmmu::DomainMutex mutex;
  pvmmu::DomainLock held{mutex};
};

/// Guest memory from address 0x1000 on; everything else faults.
class FakeMemory : public vmm::GuestMemory {
 public:
  static constexpr std::uint64_t base = 0x1000;
  [[nodiscard]] Status read(GuestVaddr from, std::span<std::byte> to) override {
    if (!inside(from, to.size())) return fail(Errno::efault);
    std::memcpy(to.data(), bytes.data() + (from.raw() - base), to.size());
    return {};
  }
  [[nodiscard]] Status write(GuestVaddr to, std::span<const std::byte> from) override {
    if (!inside(to, from.size())) return fail(Errno::efault);
    std::memcpy(bytes.data() + (to.raw() - base), from.data(), from.size());
    return {};
  }
  std::vector<std::byte> bytes = std::vector<std::byte>(64 * 1024);

 private:
  [[nodiscard]] bool inside(GuestVaddr at, std::size_t size) const {
    return at.raw() >= base && at.raw() - base <= bytes.size() && size <= bytes.size() - (at.raw() - base);
  }
};

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string to_text(std::span<const std::byte> bytes) {
  std::string text(bytes.size(), '\0');
  if (!bytes.empty()) std::memcpy(text.data(), bytes.data(), bytes.size());
  return text;
}

}  // namespace pinfold::devices
