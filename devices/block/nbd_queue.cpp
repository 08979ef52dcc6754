#include "devices/block/nbd_queue.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "devices/block/transfer_check.hpp"

namespace pinfold::devices::block {
namespace {

/// A length has 32 bits in the protocol. A server has to look at all of it before it answers.
constexpr std::uint64_t longest_discard = 1ULL << 30;
/// What a slot keeps between transfers; most are not larger.
constexpr std::size_t kept_buffer = 128 << 10;

/// For how long a queue that ends waits for what is on its way, and how often it looks whether another one of
/// the image has waited in vain.
constexpr std::chrono::seconds longest_end{10};
constexpr int most_milliseconds_of_a_turn = 100;

void gather(const Transfer& transfer, std::byte* to) {
  for (const iovec& piece : transfer.memory) {
    std::memcpy(to, piece.iov_base, piece.iov_len);
    to += piece.iov_len;
  }
}

void scatter(const std::byte* from, const Transfer& transfer) {
  for (const iovec& piece : transfer.memory) {
    std::memcpy(piece.iov_base, from, piece.iov_len);
    from += piece.iov_len;
  }
}

bool says_ended(int error) { return error == ENOTCONN || error == ESHUTDOWN; }

bool has_buffer(Operation operation) { return operation == Operation::read || operation == Operation::write; }

}  // namespace

std::optional<NbdConnection> IdleConnections::take() {
  const std::lock_guard lock(mutex_);
  if (connections_.empty()) return std::nullopt;
  NbdConnection last = std::move(connections_.back());
  connections_.pop_back();
  return last;
}

IdleConnections::~IdleConnections() {
  for (NbdConnection& connection : connections_) connection.say_goodbye();
}

NbdQueue::NbdQueue(NbdShared& shared, NbdConnection connection, std::size_t depth, LentWake wake)
    : shared_(shared),
      slots_(depth),
      wake_(std::move(wake.wake)),
      give_back_(std::move(wake.give_back)),
      connection_(std::move(connection)) {
  for (std::size_t n = depth; n-- > 0;) {
    slots_[n].queue = this;
    slots_[n].number = n;
    free_.push_back(n);
  }
}

NbdQueue::~NbdQueue() {
  wait_for_the_last();
  if (!lost_ && free_.size() == slots_.size()) {
    shared_.idle.put(std::move(connection_));
  } else {
    lost_ = true;
    connection_.end({});
  }
  if (give_back_) give_back_(std::move(wake_));
}

/// The answers that it still waits for are of nobody's interest, and touch nothing but the slots' buffers. A
/// later queue can have the connection only when all have come.
void NbdQueue::wait_for_the_last() {
  ending_ = true;
  for (const std::size_t n : std::exchange(rest_, {})) give_up(slots_[n], 0);
  const auto deadline = Clock::now() + longest_end;
  while (!lost_ && connection_.descriptor() >= 0 && free_.size() < slots_.size() && !shared_.kept_waiting) {
    pollfd wait{connection_.descriptor(), connection_.wanted_events(), 0};
    if (Clock::now() >= deadline) shared_.kept_waiting = true;
    if (::poll(&wait, 1, most_milliseconds_of_a_turn) < 0 && errno != EINTR) break;
    if (!connection_.work()) lost_ = true;
  }
}

bool NbdQueue::submit(const Transfer& transfer) {
  if (on_the_way() >= slots_.size()) return false;
  const int error = lost_ ? EIO : error_in(transfer, shared_.geometry);
  if (error != 0) {
    done_.push_back({transfer.token, error});
    raise();
    return true;
  }
  Slot& slot = slots_[free_.back()];
  free_.pop_back();
  if (free_.size() + 1 == slots_.size()) last_answer_ = Clock::now();
  slot.used = true;
  slot.transfer = transfer;
  slot.asked = 0;
  if (has_buffer(transfer.operation) && slot.room < transfer.bytes) {
    slot.buffer.reset(new std::byte[transfer.bytes]);
    slot.room = transfer.bytes;
  }
  if (transfer.operation == Operation::write) gather(transfer, slot.buffer.get());
  // A connection that ends meanwhile has finished it already.
  if (!ask(slot) && slot.used) finish(slot, EIO);
  if (!slot.used) raise();
  return true;
}

bool NbdQueue::ask(Slot& slot) {
  const NbdLibrary& library = connection_.library();
  nbd_handle* const handle = connection_.handle();
  if (handle == nullptr) return false;
  const Transfer& transfer = slot.transfer;
  const nbd_completion_callback done{on_answer, &slot, nullptr};
  std::int64_t cookie = -1;
  switch (transfer.operation) {
    case Operation::read:
      cookie = library.aio_pread(handle, slot.buffer.get(), transfer.bytes, transfer.offset, done, 0);
      break;
    case Operation::write:
      cookie = library.aio_pwrite(handle, slot.buffer.get(), transfer.bytes, transfer.offset, done, 0);
      break;
    case Operation::flush: cookie = library.aio_flush(handle, done, 0); break;
    case Operation::discard: {
      const std::uint64_t part = std::min(transfer.bytes - slot.asked, longest_discard);
      cookie = library.aio_trim(handle, part, transfer.offset + slot.asked, done, 0);
      slot.asked += part;
      break;
    }
  }
  return cookie >= 0;
}

/// Called by the library, which must not be called from here.
int NbdQueue::on_answer(void* of_slot, int* error) {
  Slot& slot = *static_cast<Slot*>(of_slot);
  NbdQueue& queue = *slot.queue;
  // A connection that ends calls for all that it had. on_lost() and the destructor do that themselves.
  if (queue.lost_ || !slot.used) return 1;
  if (queue.ending_) {
    queue.give_up(slot, *error);
    return 1;
  }
  queue.last_answer_ = Clock::now();
  const bool more = slot.transfer.operation == Operation::discard && slot.asked < slot.transfer.bytes;
  if (*error == 0 && more)
    queue.rest_.push_back(slot.number);
  else
    queue.finish(slot, *error);
  return 1;
}

void NbdQueue::finish(Slot& slot, int error) {
  if (error == 0 && slot.transfer.operation == Operation::read) scatter(slot.buffer.get(), slot.transfer);
  // A connection that ended is told once, and not for each kind of transfer.
  const bool connection_ended = lost_ || says_ended(error);
  if (!connection_ended) error = shared_.results.result_of(slot.transfer, error);
  done_.push_back({slot.transfer.token, connection_ended ? EIO : error});
  slot.used = false;
  if (slot.room > kept_buffer) {
    slot.buffer.reset();
    slot.room = 0;
  }
  free_.push_back(slot.number);
}

/// Nobody takes the result. An image remembers a flush that failed.
void NbdQueue::give_up(Slot& slot, int error) {
  if (!says_ended(error)) (void)shared_.results.result_of(slot.transfer, error);
  slot.used = false;
  free_.push_back(slot.number);
}

void NbdQueue::on_lost(bool is_silent) {
  lost_ = true;
  rest_.clear();
  for (Slot& slot : slots_)
    if (slot.used) finish(slot, EIO);
  if (shared_.said_lost.exchange(true)) return;
  if (shared_.end_is_told && !is_silent) return;
  spdlog::warn(
      "disk {}: the connection to its server has ended: {}; the guest gets I/O errors of this disk until it "
      "is detached and attached again, or the guest is started anew",
      shared_.results.name(), connection_.why());
}

/// There is something to collect, without a word of the server's.
void NbdQueue::raise() {
  if (!std::exchange(raised_, true)) wake_.raise();
}

void NbdQueue::collect(const std::function<void(const Completion&)>& take) {
  if (std::exchange(raised_, false)) wake_.clear();
  bool works = !lost_ && connection_.work(), is_silent = false;
  for (const std::size_t n : std::exchange(rest_, {}))
    if (slots_[n].used && !ask(slots_[n]) && slots_[n].used) finish(slots_[n], EIO);
  if (!lost_ && works && free_.size() < slots_.size() && Clock::now() - last_answer_ > shared_.patience) {
    connection_.end("it does not answer");
    works = false;
    is_silent = true;
  }
  if (!works && !lost_) on_lost(is_silent);
  const auto done = std::exchange(done_, {});
  for (const Completion& completion : done) take(completion);
}

void NbdQueue::add_descriptors(std::vector<pollfd>& all) const {
  all.push_back({wake_.get(), POLLIN, 0});
  if (!lost_ && connection_.descriptor() >= 0)
    all.push_back({connection_.descriptor(), connection_.wanted_events(), 0});
}

std::optional<std::chrono::nanoseconds> NbdQueue::patience() const {
  if (lost_ || free_.size() == slots_.size()) return std::nullopt;
  const auto left = last_answer_ + shared_.patience - Clock::now();
  return std::max<std::chrono::nanoseconds>(left, std::chrono::milliseconds(1));
}

}  // namespace pinfold::devices::block
