#include "loader/machine_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pinfold::loader {
namespace {

bool all_zero(std::span<const std::byte> bytes) {
  // A range equal to itself shifted by one is all like its first byte; memcmp stops at the first difference.
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

void MachineMemory::write(Mfn first, std::size_t offset, std::span<const std::byte> bytes) const {
  std::uint64_t at = first.raw() * page_size + offset;
  while (file_ >= 0 && !bytes.empty()) {
    const ssize_t n = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // the mapping will do
    at += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (!bytes.empty()) std::memcpy(base_ + at, bytes.data(), bytes.size());
}

void PseudoPhysical::write(std::uint64_t address, std::span<const std::byte> bytes) const {
  // What waits to be written: `run` bytes before `bytes`, from `run_offset` in frame `run_first` on.
  Mfn run_first;
  std::size_t run_offset = 0, run = 0;
  const auto flush = [&](const std::byte* end) {
    if (run != 0) machine_.write(run_first, run_offset, {end - run, run});
    run = 0;
  };
  while (!bytes.empty()) {
    const std::size_t offset = address % page_size;
    const std::size_t n = std::min(bytes.size(), static_cast<std::size_t>(page_size) - offset);
    const Mfn mfn = frame(Pfn(address >> page_shift));
    const bool skip = all_zero(bytes.first(n));
    if (skip || mfn.raw() * page_size + offset != run_first.raw() * page_size + run_offset + run)
      flush(bytes.data());
    if (!skip) {
      if (run == 0) run_first = mfn, run_offset = offset;
      run += n;
    }
    address += n;
    bytes = bytes.subspan(n);
  }
  flush(bytes.data());
}

}  // namespace pinfold::loader
