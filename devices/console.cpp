#include "devices/console.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

#include "devices/xen_abi.hpp"

namespace pinfold::devices {
namespace {

constexpr RingLayout output_layout{offsetof(xencons_interface, out), sizeof(xencons_interface::out),
                                   offsetof(xencons_interface, out_cons),
                                   offsetof(xencons_interface, out_prod)};
constexpr RingLayout input_layout{offsetof(xencons_interface, in), sizeof(xencons_interface::in),
                                  offsetof(xencons_interface, in_cons), offsetof(xencons_interface, in_prod)};
static_assert(output_layout.data == 1024 && output_layout.size == 2048 && output_layout.producer == 3084);
static_assert(input_layout.data == 0 && input_layout.size == 1024 && input_layout.consumer == 3072);

}  // namespace

Console::Console(vmm::SharedPage ring, ConsoleSink sink, std::function<void()> notify)
    : output_(ring, output_layout),
      input_(ring, input_layout),
      sink_(std::move(sink)),
      notify_(std::move(notify)) {}

void Console::on_guest_event() {
  bool progress = false;
  {
    const std::lock_guard lock(mutex_);
    progress = drain_output();
    progress = fill_input() || progress;
    report_once();
  }
  // The guest may be waiting for room as well as for input.
  if (progress && notify_) notify_();
}

std::size_t Console::write_input(std::span<const std::byte> bytes) {
  std::size_t accepted = 0;
  bool progress = false;
  {
    const std::lock_guard lock(mutex_);
    accepted = std::min(bytes.size(), input_limit - waiting_.size());
    waiting_.insert(waiting_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(accepted));
    progress = fill_input();
    report_once();
  }
  if (progress && notify_) notify_();
  return accepted;
}

bool Console::misbehaved() {
  const std::lock_guard lock(mutex_);
  return output_.index_fault() || input_.index_fault();
}

bool Console::drain_output() {
  offer_output();
  if (!not_taken_.empty()) return false;
  // At most one ring of bytes per event: a guest that goes on writing has to send another event.
  not_taken_.resize(output_layout.size);
  not_taken_.resize(output_.read(not_taken_));
  const bool progress = !not_taken_.empty();
  offer_output();
  return progress;
}

void Console::offer_output() {
  if (not_taken_.empty()) return;
  const std::size_t taken = sink_ ? sink_(not_taken_) : not_taken_.size();
  not_taken_.erase(not_taken_.begin(), not_taken_.begin() + static_cast<std::ptrdiff_t>(taken));
}

bool Console::fill_input() {
  std::array<std::byte, input_layout.size> bytes;
  const std::size_t offered = std::min(bytes.size(), waiting_.size());
  std::copy_n(waiting_.begin(), offered, bytes.begin());
  const std::size_t written = input_.write(std::span(bytes).first(offered));
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(written));
  return written != 0;
}

void Console::report_once() {
  if (reported_ || (!output_.index_fault() && !input_.index_fault())) return;
  reported_ = true;
  spdlog::warn(
      "console: the guest's ring indices claim more than the ring holds; ignored until they make sense");
}

}  // namespace pinfold::devices
