#include "devices/xenstore/connection.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <utility>

namespace pinfold::devices::xenstore {
namespace {

using Page = xenstore_domain_interface;
constexpr RingLayout request_layout{offsetof(Page, req), XENSTORE_RING_SIZE, offsetof(Page, req_cons),
                                    offsetof(Page, req_prod)};
constexpr RingLayout reply_layout{offsetof(Page, rsp), XENSTORE_RING_SIZE, offsetof(Page, rsp_cons),
                                  offsetof(Page, rsp_prod)};
static_assert(request_layout.consumer == 2048 && reply_layout.producer == 2060);
static_assert(offsetof(Page, server_features) == 2064 && offsetof(Page, error) == 2072);

}  // namespace

std::shared_ptr<Connection> Connection::create(std::shared_ptr<Store> store, DomId domain,
                                               vmm::SharedPage ring, std::function<void()> notify) {
  auto made = std::shared_ptr<Connection>(new Connection(std::move(store), domain, ring, std::move(notify)));
  made->client_ = made->store_->add_client(domain, made->weak_from_this());
  made->store_->introduce(domain);
  return made;
}

Connection::Connection(std::shared_ptr<Store> store, DomId domain, vmm::SharedPage ring,
                       std::function<void()> notify)
    : store_(std::move(store)), domain_(domain), notify_(std::move(notify)), ring_(std::move(ring)) {
  ring_->page.store<std::uint32_t>(offsetof(Page, server_features), XENSTORE_SERVER_FEATURE_ERROR);
  ring_->page.store<std::uint32_t>(offsetof(Page, connection), XENSTORE_CONNECTED);
  ring_->page.store<std::uint32_t>(offsetof(Page, error), XENSTORE_ERROR_NONE);
}

Connection::Ring::Ring(vmm::SharedPage of)
    : page(of), requests(of, request_layout), replies(std::move(of), reply_layout) {}

void Connection::close() {
  {
    std::unique_lock lock(mutex_);
    if (!ring_) return;
    ring_.reset();
    told_.wait(lock, [this] { return telling_ == 0; });
  }
  store_->remove_client(client_);
  store_->release(domain_);
}

/// Without the lock: what it raises has locks of its own.
void Connection::tell_guest() {
  {
    const std::lock_guard lock(mutex_);
    if (!ring_ || !std::exchange(progress_, false)) return;
    ++telling_;
  }
  if (notify_) notify_();
  const std::lock_guard lock(mutex_);
  --telling_;
  told_.notify_all();
}

Served Connection::on_guest_event(pvmmu::Budget* budget) {
  auto unlimited = pvmmu::Budget::unlimited();
  Served served = Served::all;
  {
    const std::lock_guard lock(mutex_);
    if (!ring_) return Served::all;
    served = serve(budget != nullptr ? *budget : unlimited);
  }
  tell_guest();
  // What this guest changed may be watched by another: its connection's lock is taken with ours released.
  store_->deliver();
  return served;
}

void Connection::events_ready() {
  {
    const std::lock_guard lock(mutex_);
    auto unlimited = pvmmu::Budget::unlimited();
    if (ring_ && !broken_) (void)send_events(unlimited);
  }
  tell_guest();
}

bool Connection::is_closed() {
  const std::lock_guard lock(mutex_);
  return !ring_;
}

bool Connection::broken() {
  const std::lock_guard lock(mutex_);
  return broken_;
}

Served Connection::serve(pvmmu::Budget& budget) {
  // What was in the ring at the start is at most one ring of bytes; a guest that adds to it sends another
  // event.
  std::size_t bytes = XENSTORE_RING_SIZE;
  while (!broken_ && flush() && receive(bytes)) {
    const std::uint64_t before = store_->steps();
    outgoing_ = Protocol(*store_, client_, domain_).answer(*incoming_.take()).wire();
    budget.spend(pvmmu::cost::call + store_->steps() - before);
    if (budget.used_up()) return Served::some;
  }
  return broken_ ? Served::all : send_events(budget);
}

Served Connection::send_events(pvmmu::Budget& budget) {
  while (flush()) {
    const auto event = store_->next_event(client_);
    if (!event) break;
    if (const auto message = Protocol::tell(*event)) outgoing_ = message->wire();
    budget.spend(pvmmu::cost::call);
    if (budget.used_up()) return Served::some;
  }
  return Served::all;
}

/// Moves what waits into the ring; true when nothing waits any more.
bool Connection::flush() {
  if (outgoing_.empty()) return true;
  const std::size_t written = ring_->replies.write(std::as_bytes(std::span(outgoing_)));
  outgoing_.erase(0, written);
  progress_ = progress_ || written != 0;
  if (ring_->replies.index_fault())
    give_up(XENSTORE_ERROR_RINGIDX, "reply indices claim more than the ring holds");
  return outgoing_.empty() && !broken_;
}

/// Takes bytes until `incoming_` is a whole message; false when there are no more.
bool Connection::receive(std::size_t& budget) {
  std::array<std::byte, XENSTORE_RING_SIZE> bytes;
  for (;;) {
    const std::size_t missing = incoming_.missing();
    if (incoming_.too_long()) {
      give_up(XENSTORE_ERROR_PROTO, "a message is longer than the protocol allows");
      return false;
    }
    if (missing == 0) return true;

    const auto part = std::span(bytes).first(std::min({missing, bytes.size(), budget}));
    const std::size_t read = ring_->requests.read(part);
    if (ring_->requests.index_fault()) {
      give_up(XENSTORE_ERROR_RINGIDX, "request indices claim more than the ring holds");
      return false;
    }
    if (read == 0) return false;
    incoming_.add(part.first(read));
    budget -= read;
    progress_ = true;  // room for a guest that waits for it
  }
}

void Connection::give_up(std::uint32_t error, const char* why) {
  if (broken_) return;
  broken_ = true;
  incoming_.clear();
  outgoing_.clear();
  ring_->page.store(offsetof(Page, error), error);
  progress_ = true;
  spdlog::warn("xenstore: domain {} is not served any more: {}", domain_.raw(), why);
}

}  // namespace pinfold::devices::xenstore
