#include "vmm/memory/guest_access.hpp"

#include <algorithm>

namespace pinfold::vmm {

bool GuestAccess::permitted(Mfn mfn, Kind kind) const { return mmu_.may_access(mfn, kind == Kind::write); }

std::byte* GuestAccess::locate(GuestVaddr va, Kind kind) {
  const auto leaf = mmu_.walk(held_, root_, va);
  if (!leaf || !leaf->entry.present()) return nullptr;
  if (kind == Kind::execute && !leaf->executable) return nullptr;
  if (!permitted(leaf->entry.mfn(), kind) || !mmu_.touch(held_, *leaf, kind == Kind::write)) return nullptr;
  return mmu_.machine().page(leaf->entry.mfn().raw()) + offset_in_page(va);
}

Status GuestAccess::read(GuestVaddr from, std::span<std::byte> to) {
  while (!to.empty()) {
    const std::byte* at = locate(from, Kind::read);
    if (at == nullptr) return fail(Errno::efault);
    const std::size_t here = std::min<std::size_t>(to.size(), page_size - offset_in_page(from));
    std::memcpy(to.data(), at, here);
    to = to.subspan(here);
    from = from.plus(here);
  }
  return {};
}

Status GuestAccess::write(GuestVaddr to, std::span<const std::byte> from) {
  while (!from.empty()) {
    std::byte* at = locate(to, Kind::write);
    if (at == nullptr) return fail(Errno::efault);
    const std::size_t here = std::min<std::size_t>(from.size(), page_size - offset_in_page(to));
    std::memcpy(at, from.data(), here);
    from = from.subspan(here);
    to = to.plus(here);
  }
  return {};
}

std::size_t GuestAccess::fetch_code(GuestVaddr from, std::span<std::byte> to) {
  std::size_t done = 0;
  while (done < to.size()) {
    const std::byte* at = locate(from, Kind::execute);
    if (at == nullptr) break;
    const std::size_t here = std::min<std::size_t>(to.size() - done, page_size - offset_in_page(from));
    std::memcpy(to.data() + done, at, here);
    done += here;
    from = from.plus(here);
  }
  return done;
}

}  // namespace pinfold::vmm
