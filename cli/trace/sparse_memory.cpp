#include "trace/sparse_memory.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace pinfold::trace {

tl::expected<SparseMemory, std::string> SparseMemory::create(std::uint64_t pages) {
  void* at = ::mmap(nullptr, pages * page_size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) return tl::unexpected(std::string("no address space: ") + std::strerror(errno));
  // A huge page would be 512 for one that is touched.
  (void)::madvise(at, pages * page_size, MADV_NOHUGEPAGE);
  SparseMemory memory;
  memory.base_ = static_cast<std::byte*>(at);
  memory.pages_ = pages;
  return memory;
}

SparseMemory::~SparseMemory() {
  if (base_ != nullptr) ::munmap(base_, pages_ * page_size);
}

SparseMemory::SparseMemory(SparseMemory&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), pages_(std::exchange(other.pages_, 0)) {}

SparseMemory& SparseMemory::operator=(SparseMemory&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(pages_, other.pages_);
  return *this;
}

}  // namespace pinfold::trace
