#include "devices/queue_thread.hpp"

#include <sys/prctl.h>

#include <utility>

#include "pvmmu/service_thread.hpp"

namespace pinfold::devices {

tl::expected<std::unique_ptr<QueueThread>, std::string> QueueThread::make(std::function<void()> on_change) {
  auto fd = WakeFd::make();
  if (!fd) return tl::unexpected(fd.error());
  return std::unique_ptr<QueueThread>(new QueueThread(std::move(*fd), std::move(on_change)));
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
  if (thread_.joinable()) return;
  thread_ = service_thread(ThreadKind::io, [this] {
    // The kernel may let a sleeper wait 50 us longer than it asked for, as long as a queue rests at most.
    (void)::prctl(PR_SET_TIMERSLACK, 1000UL);
    run();
  });
}

void QueueThread::connect(std::unique_ptr<QueueLink> link) {
  {
    const std::lock_guard lock(mutex_);
    wish_ = Wish::serve;
    fault_ = nullptr;
    idle_ = false;
    link_ = std::move(link);
  }
  // What the guest sent before it was connected got lost.
  bell_->ring();
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

void QueueThread::settle() {
  disconnect();
  std::unique_lock lock(mutex_);
  became_idle_.wait(lock, [this] { return idle_; });
}

const char* QueueThread::fault() {
  const std::lock_guard lock(mutex_);
  return fault_;
}

bool QueueThread::hush() {
  const std::lock_guard lock(mutex_);
  const bool done = link_ == nullptr || link_->hush();
  if (!done) bell_->ring();
  return done;
}

bool QueueThread::see_off() {
  const std::lock_guard lock(mutex_);
  return link_ == nullptr || link_->see_off();
}

void QueueThread::run() {
  for (;;) {
    bell_->silence();
    QueueLink* link = nullptr;
    Wish wish = Wish::serve;
    {
      const std::lock_guard lock(mutex_);
      link = link_.get();
      wish = wish_;
    }
    const auto rest = link != nullptr ? link->serve(wish != Wish::serve) : std::nullopt;
    bool changed = link != nullptr && note_fault(*link);
    changed = (link != nullptr && link->has_news()) || changed;
    if (link != nullptr && wish != Wish::serve && link->is_idle()) {
      drop_link();
      link = nullptr;
      changed = true;
    }
    if (changed) on_change_();
    if (wish == Wish::end && link == nullptr) return;
    if (!changed) sleep(link, rest);
  }
}

void QueueThread::drop_link() {
  std::unique_ptr<QueueLink> over;
  {
    const std::lock_guard lock(mutex_);
    over = std::move(link_);
  }
  over.reset();
  const std::lock_guard lock(mutex_);
  idle_ = true;
  became_idle_.notify_all();
}

bool QueueThread::note_fault(const QueueLink& link) {
  const char* const fault = link.fault();
  const std::lock_guard lock(mutex_);
  return std::exchange(fault_, fault) != fault;
}

void QueueThread::sleep(const QueueLink* link, QueueLink::Rest rest) {
  if (rest == QueueLink::no_rest) return;
  descriptors_.assign(1, pollfd{bell_->descriptor(), POLLIN, 0});
  if (link != nullptr) link->add_descriptors(descriptors_);
  constexpr std::int64_t per_second = 1'000'000'000;
  timespec time{};
  if (rest) time = {rest->count() / per_second, rest->count() % per_second};
  (void)::ppoll(descriptors_.data(), descriptors_.size(), rest ? &time : nullptr, nullptr);
}

}  // namespace pinfold::devices
