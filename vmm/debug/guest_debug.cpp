#include "vmm/debug/guest_debug.hpp"

#include <algorithm>

namespace pinfold::vmm {
namespace {

constexpr std::byte int3{0xcc};

}  // namespace

std::optional<GuestDebug::Place> GuestDebug::locate(pvmmu::Held held, Mfn root, GuestVaddr va) const {
  const auto leaf = mmu_.walk(held, root, va);
  if (!leaf || !leaf->entry.present() || !mmu_.owns(leaf->entry.mfn())) return std::nullopt;
  return Place{leaf->entry.mfn(), offset_in_page(va)};
}

bool GuestDebug::may_be_written(Mfn frame) const {
  return mmu_.owns(frame) && pvmmu::may_be_written(mmu_.facts(frame));
}

std::byte& GuestDebug::at(const Place& place) const {
  return mmu_.machine().page(place.first.raw())[place.second];
}

std::size_t GuestDebug::read(pvmmu::Held held, Mfn root, GuestVaddr from, std::span<std::byte> to) const {
  for (std::size_t i = 0; i < to.size(); ++i) {
    const auto place = locate(held, root, GuestVaddr(from.raw() + i));
    if (!place) return i;
    const auto behind = breakpoints_.find(*place);
    to[i] = behind != breakpoints_.end() && at(*place) == int3 ? behind->second.original : at(*place);
  }
  return to.size();
}

bool GuestDebug::write(pvmmu::Held held, Mfn root, GuestVaddr to, std::span<const std::byte> from) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    const auto place = locate(held, root, GuestVaddr(to.raw() + i));
    if (!place || !may_be_written(place->first)) return false;
  }
  for (std::size_t i = 0; i < from.size(); ++i) {
    const Place place = *locate(held, root, GuestVaddr(to.raw() + i));
    const auto behind = breakpoints_.find(place);
    (behind != breakpoints_.end() ? behind->second.original : at(place)) = from[i];
  }
  return true;
}

bool GuestDebug::insert(pvmmu::Held held, Mfn root, GuestVaddr va) {
  const auto place = locate(held, root, va);
  if (!place || !may_be_written(place->first)) return false;
  if (breakpoints_.contains(*place)) return true;
  if (breakpoints_.size() >= most_breakpoints) return false;
  breakpoints_.emplace(*place, Breakpoint{std::exchange(at(*place), int3), va});
  return true;
}

/// Since the breakpoint was set, the frame may have become a table, or its contents may have changed.
void GuestDebug::take_out(Breakpoints::const_iterator breakpoint) const {
  const Place& place = breakpoint->first;
  if (may_be_written(place.first) && at(place) == int3) at(place) = breakpoint->second.original;
}

bool GuestDebug::remove(pvmmu::Held held, Mfn root, GuestVaddr va) {
  const auto place = locate(held, root, va);
  auto found = place ? breakpoints_.find(*place) : breakpoints_.end();
  if (found == breakpoints_.end())
    found = std::ranges::find_if(breakpoints_, [&](const auto& b) { return b.second.set_at == va; });
  if (found == breakpoints_.end()) return false;
  take_out(found);
  breakpoints_.erase(found);
  return true;
}

void GuestDebug::remove_all(pvmmu::Held) {
  for (auto b = breakpoints_.cbegin(); b != breakpoints_.cend(); ++b) take_out(b);
  breakpoints_.clear();
}

bool GuestDebug::is_breakpoint(pvmmu::Held held, Mfn root, GuestVaddr va) const {
  const auto place = locate(held, root, va);
  return place && breakpoints_.contains(*place) && at(*place) == int3;
}

}  // namespace pinfold::vmm
