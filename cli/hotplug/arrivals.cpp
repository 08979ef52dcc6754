#include "cli/hotplug/arrivals.hpp"

#include <algorithm>
#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::cli {
namespace {

/// Those that nobody asks for any more are forgotten, so that clients can't fill the memory with them.
constexpr std::size_t most_failures = 64;

}  // namespace

Arrivals::Arrivals(Attach attach) : attach_(std::move(attach)) {
  thread_ = service_thread(ThreadKind::control, [this] { run(); });
}

tl::expected<void, std::string> Arrivals::add(ServedDisk disk) {
  using Failed = tl::unexpected<std::string>;
  const std::uint32_t number = disk.nodes.number;
  disk.options.connect_patience = patience;
  disk.options.given_up = given_up_;
  const std::lock_guard lock(mutex_);
  const bool is_known =
      asked_ == number || std::any_of(waiting_.begin(), waiting_.end(),
                                      [&](const auto& one) { return one.nodes.number == number; });
  if (is_known) return Failed("it is being attached already");
  if (stopping_) return Failed("the guest is about to end");
  if (waiting_.size() >= most) return Failed("too many disks are being attached at a time");
  failures_.erase(number);
  waiting_.push_back(std::move(disk));
  changed_.notify_all();
  return {};
}

Arrivals::Outcome Arrivals::of(std::uint32_t number) const {
  const std::lock_guard lock(mutex_);
  Outcome outcome;
  outcome.coming = asked_ == number || std::any_of(waiting_.begin(), waiting_.end(), [&](const auto& one) {
                     return one.nodes.number == number;
                   });
  if (const auto failure = failures_.find(number); failure != failures_.end())
    outcome.failure = failure->second;
  return outcome;
}

void Arrivals::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    *given_up_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  waiting_.clear();
}

tl::expected<void, std::string> Arrivals::take_in(ServedDisk disk) {
  std::vector<vmm::Fd> sockets;
  sockets.push_back(std::move(disk.socket));
  auto open = devices::block::open_nbd_image(std::move(sockets), disk.options, std::move(disk.tie));
  if (!open) return tl::unexpected(open.error());
  return attach_(std::move(disk.nodes), std::move(open->image));
}

void Arrivals::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    ServedDisk disk = std::move(waiting_.front());
    waiting_.pop_front();
    const std::uint32_t number = disk.nodes.number;
    asked_ = number;
    lock.unlock();
    auto done = take_in(std::move(disk));
    lock.lock();
    asked_.reset();
    if (done) continue;
    if (failures_.size() >= most_failures) failures_.clear();
    failures_[number] = std::move(done.error());
  }
}

}  // namespace pinfold::cli
