#include "cli/console/hub.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::cli {

ConsoleHub::ConsoleHub(Lossless lossless) : lossless_(std::move(lossless)), ring_(capacity) {}

std::size_t ConsoleHub::offer(std::span<const std::byte> bytes) {
  // Without the lock: the output has its own.
  const std::size_t taken = lossless_ ? lossless_(bytes) : bytes.size();
  const auto printed = bytes.first(taken);
  if (printed.empty()) return 0;
  const std::lock_guard lock(mutex_);
  for (auto rest = printed.last(std::min(capacity, printed.size())); !rest.empty();) {
    const auto at = static_cast<std::size_t>((end_ + printed.size() - rest.size()) % capacity);
    const auto part = rest.first(std::min(rest.size(), capacity - at));
    std::copy(part.begin(), part.end(), ring_.begin() + static_cast<std::ptrdiff_t>(at));
    rest = rest.subspan(part.size());
  }
  end_ += printed.size();
  kept_ = std::min(capacity, kept_ + printed.size());
  for (Reader* reader : readers_) reader->output_ready();
  return taken;
}

void ConsoleHub::join(Reader& reader) {
  const std::lock_guard lock(mutex_);
  readers_.push_back(&reader);
}

void ConsoleHub::leave(Reader& reader) {
  const std::lock_guard lock(mutex_);
  std::erase(readers_, &reader);
}

ConsoleHub::Place ConsoleHub::place_with_history() {
  const std::lock_guard lock(mutex_);
  return {end_ - std::min(history, kept_)};
}

ConsoleHub::Place ConsoleHub::place_at_end() {
  const std::lock_guard lock(mutex_);
  return {end_};
}

ConsoleHub::Read ConsoleHub::read(Place& place, std::span<std::byte> to) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t lost = place.next < oldest() ? oldest() - place.next : 0;
  place.next += lost;
  const std::size_t size = std::min<std::size_t>(to.size(), end_ - place.next);
  for (std::size_t done = 0; done < size;) {
    const auto at = static_cast<std::size_t>((place.next + done) % capacity);
    const std::size_t part = std::min(size - done, capacity - at);
    std::copy_n(ring_.begin() + static_cast<std::ptrdiff_t>(at), part,
                to.begin() + static_cast<std::ptrdiff_t>(done));
    done += part;
  }
  place.next += size;
  return {size, lost};
}

}  // namespace pinfold::cli
