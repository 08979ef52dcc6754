// What the calls of KVM have in common. Only the .cpp files of this folder include it.
#pragma once

#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vmm/for_devices/fd.hpp"
#include "vmm/kvm/abi.hpp"
#include "vmm/kvm/vcpu.hpp"

namespace pinfold::vmm::ioctls {

[[nodiscard]] inline tl::unexpected<KvmError> failed(const std::string& what, int error = errno) {
  return tl::unexpected(KvmError{KvmError::Kind::failed, error, what + ": " + std::strerror(error)});
}

[[nodiscard]] inline tl::unexpected<KvmError> unusable(std::string what) {
  return tl::unexpected(KvmError{KvmError::Kind::unusable, 0, std::move(what)});
}

inline int call(const Fd& fd, unsigned long request, unsigned long argument = 0) {
  return ::ioctl(fd.get(), request, argument);
}
template <class T>
int call(const Fd& fd, unsigned long request, T* argument) {
  return ::ioctl(fd.get(), request, argument);
}

/// An ioctl that only reads or only writes one struct.
template <class T>
[[nodiscard]] KvmResult<T> get(const Fd& fd, unsigned long request, const char* what) {
  T value{};
  if (call(fd, request, &value) < 0) return failed(what);
  return value;
}
template <class T>
[[nodiscard]] KvmResult<void> set(const Fd& fd, unsigned long request, const T& value, const char* what) {
  if (call(fd, request, const_cast<T*>(&value)) < 0) return failed(what);
  return {};
}

/// KVM's variable-sized arguments: a header with the number of entries, then the entries.
template <class Header, class Entry>
class Counted {
 public:
  explicit Counted(std::size_t count) : words_((sizeof(Header) + count * sizeof(Entry) + 7) / 8) {
    Header header{};
    header.count = static_cast<std::uint32_t>(count);
    std::memcpy(data(), &header, sizeof header);
  }
  explicit Counted(std::span<const Entry> entries) : Counted(entries.size()) {
    if (!entries.empty()) std::memcpy(data() + sizeof(Header), entries.data(), entries.size_bytes());
  }
  [[nodiscard]] std::byte* data() { return reinterpret_cast<std::byte*>(words_.data()); }
  [[nodiscard]] std::vector<Entry> entries() {
    Header header{};
    std::memcpy(&header, data(), sizeof header);
    const std::size_t room = (words_.size() * 8 - sizeof(Header)) / sizeof(Entry);
    std::vector<Entry> result(std::min<std::size_t>(header.count, room));
    if (!result.empty()) std::memcpy(result.data(), data() + sizeof(Header), result.size() * sizeof(Entry));
    return result;
  }

 private:
  std::vector<std::uint64_t> words_;
};
using CpuidList = Counted<abi::CpuidHeader, kvm_cpuid_entry2>;
using MsrList = Counted<abi::MsrsHeader, kvm_msr_entry>;

}  // namespace pinfold::vmm::ioctls
