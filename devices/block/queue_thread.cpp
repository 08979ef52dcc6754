#include "devices/block/queue_thread.hpp"

#include <poll.h>
#include <sys/prctl.h>

#include <array>
#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::devices::block {

tl::expected<std::unique_ptr<QueueThread>, std::string> QueueThread::make(Image& image,
                                                                          const Geometry& geometry,
                                                                          GrantAccess grants,
                                                                          std::function<void()> on_change) {
  auto transfers = image.make_queue(RequestRing::size);
  if (!transfers) return tl::unexpected(transfers.error());
  auto bell = WakeFd::make();
  if (!bell) return tl::unexpected(bell.error());
  return std::unique_ptr<QueueThread>(new QueueThread(geometry, std::move(grants), std::move(*transfers),
                                                      std::move(*bell), std::move(on_change)));
}

QueueThread::~QueueThread() {
  {
    const std::lock_guard lock(mutex_);
    wish_ = Wish::end;
  }
  bell_->ring();
  if (thread_.joinable()) thread_.join();
}

void QueueThread::start() {
  thread_ = service_thread(ThreadKind::io, [this] {
    // The kernel may let a sleeper wait 50 us longer than it asked for, which is half of Pacing::patience.
    (void)::prctl(PR_SET_TIMERSLACK, 1000UL);
    run();
  });
}

Status QueueThread::connect(EventChannels& events, Port port, GrantedPage ring) {
  auto end = events.bind_monitor_channel(port, [bell = bell_](vmm::Hypercall&) {
    bell->ring_for_guest();
    return Served::all;
  });
  if (!end) return fail(end.error());
  {
    const std::lock_guard lock(mutex_);
    wish_ = Wish::serve;
    broken_ = false;
    idle_ = false;
    link_ = std::make_unique<Link>(std::move(*end), std::move(ring), grants_, *transfers_, geometry_,
                                   bell_->counts);
  }
  // What the guest sent before it was connected got lost.
  bell_->ring();
  return {};
}

void QueueThread::disconnect() {
  {
    const std::lock_guard lock(mutex_);
    wish_ = Wish::disconnect;
  }
  bell_->ring();
}

bool QueueThread::is_idle() {
  const std::lock_guard lock(mutex_);
  return idle_;
}

bool QueueThread::is_broken() {
  const std::lock_guard lock(mutex_);
  return broken_;
}

void QueueThread::run() {
  for (;;) {
    bell_->silence();
    Link* link = nullptr;
    Wish wish = Wish::serve;
    {
      const std::lock_guard lock(mutex_);
      link = link_.get();
      wish = wish_;
    }
    Rest rest = link != nullptr ? serve(*link, wish) : std::nullopt;
    bool changed = link != nullptr && note_broken(link->queue);
    if (link != nullptr && wish != Wish::serve && link->queue.is_idle()) {
      drop_link();
      link = nullptr;
      changed = true;
    }
    if (changed) on_change_();
    if (wish == Wish::end && link == nullptr) return;
    if (!changed) sleep(rest);
  }
}

QueueThread::Rest QueueThread::serve(Link& link, Wish wish) {
  const auto now = Pacing::Clock::now();
  if (wish != Wish::serve) link.queue.stop_taking();
  if (link.queue.serve(now)) link.end->notify_guest();
  if (const auto rest = link.queue.rest(now)) return rest;
  return link.queue.await_request() ? Rest(none) : std::nullopt;
}

void QueueThread::drop_link() {
  std::unique_ptr<Link> over;
  {
    const std::lock_guard lock(mutex_);
    over = std::move(link_);
  }
  over.reset();
  grants_.settle();
  const std::lock_guard lock(mutex_);
  idle_ = true;
}

bool QueueThread::note_broken(const RequestQueue& queue) {
  if (!queue.is_broken()) return false;
  const std::lock_guard lock(mutex_);
  return !std::exchange(broken_, true);
}

void QueueThread::sleep(Rest rest) {
  if (rest == none) return;
  std::array<pollfd, 2> both{pollfd{bell_->fd.get(), POLLIN, 0}, pollfd{transfers_->descriptor(), POLLIN, 0}};
  const timespec time{0, rest ? static_cast<long>(rest->count()) : 0};
  (void)::ppoll(both.data(), both.size(), rest ? &time : nullptr, nullptr);
}

}  // namespace pinfold::devices::block
