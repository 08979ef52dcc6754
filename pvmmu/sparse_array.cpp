#include "pvmmu/sparse_array.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace pinfold::pvmmu {
namespace {

constexpr std::size_t small_page = 4096, large_page = std::size_t{2} << 20;

constexpr std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

SparseMemory::SparseMemory(std::size_t size, std::size_t most, bool own_pages) {
  if (most < large_page && !own_pages) {
    // Small machines are those of tests, where sanitizers watch the ends of what is on the heap.
    base_ = std::calloc(1, most);
    if (base_ == nullptr) throw std::bad_alloc();
    return;
  }
  reserved_ = round_up(most, large_page);
  void* const at = ::mmap(nullptr, reserved_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  base_ = at;
  (void)::madvise(base_, reserved_, MADV_NOHUGEPAGE);
  if (!grow(size)) {
    ::munmap(base_, reserved_);
    throw std::bad_alloc();
  }
}

SparseMemory::~SparseMemory() {
  if (reserved_ == 0)
    std::free(base_);
  else
    ::munmap(base_, reserved_);
}

bool SparseMemory::grow(std::size_t size) const {
  if (reserved_ == 0) return true;
  return ::mprotect(base_, round_up(size, small_page), PROT_READ | PROT_WRITE) == 0;
}

void SparseMemory::will_fill(std::size_t offset, std::size_t size) const {
  const std::size_t begin = round_up(offset, large_page), end = (offset + size) / large_page * large_page;
  if (reserved_ == 0 || begin >= end) return;
  (void)::madvise(static_cast<std::byte*>(base_) + begin, end - begin, MADV_HUGEPAGE);
}

}  // namespace pinfold::pvmmu
