#include "devices/net/net_queue.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::net {
namespace {

std::chrono::nanoseconds earlier(QueueLink::Rest one, std::chrono::nanoseconds other) {
  return std::min(one.value_or(other), other);
}

}  // namespace

NetQueue::NetQueue(Wiring& wiring, GrantAccess& grants, QueueCounts& counts, RingPair rings,
                   std::size_t queue, std::size_t queues)
    : wiring_(wiring),
      grants_(grants),
      counts_(counts),
      tx_end_(std::move(rings.tx_end)),
      rx_end_(std::move(rings.rx_end)),
      features_(rings.features),
      tx_(std::move(rings.tx), grants),
      rx_(std::move(rings.rx), grants),
      tx_events_(tx_.ring(), few_bytes),
      rx_events_(rx_.ring(), 0),
      out_(*wiring.wire.lanes[queue % wiring.wire.lanes.size()]),
      tx_buffer_(most_frame_bytes),
      tx_scratch_(most_frame_bytes),
      rx_scratch_(most_frame_bytes),
      peer_(wiring.wire.peer()) {
  for (std::size_t lane = queue; lane < wiring.wire.lanes.size(); lane += queues)
    in_.push_back(wiring.wire.lanes[lane].get());
}

NetQueue::~NetQueue() { grants_.settle(); }

const char* NetQueue::fault() const {
  const char* const fault = tx_.fault();
  return fault != nullptr ? fault : rx_.fault();
}

bool NetQueue::has_news() {
  const PeerState now = wiring_.wire.peer();
  return std::exchange(peer_, now) != now;
}

QueueLink::Rest NetQueue::serve(bool ending) {
  if (hush_asked_) is_hushed_ = true;
  if (ending || is_hushed_ || fault() != nullptr) return std::nullopt;
  const auto now = Clock::now();
  const bool more_to_send = transmit(now);
  const bool more_received = receive(now);
  tell(now);
  grants_.settle();
  if (fault() != nullptr) return std::nullopt;
  return more_to_send || more_received ? Rest(no_rest) : rest(now);
}

bool NetQueue::transmit(Clock::time_point now) {
  const std::uint64_t refused = tx_.refused();
  std::uint32_t count = 0;
  std::size_t bytes = 0;
  metered_.reset();
  tx_events_.look();
  while (count < stretch && out_.can_send()) {
    if (wiring_.meter) metered_ = wiring_.meter->wait(now);
    if (metered_) break;
    const auto frame = tx_.next(tx_buffer_);
    if (!frame) break;
    ++count;
    bytes += frame->bytes.size();
    pass_on(*frame);
  }
  out_.flush();
  const std::uint64_t also_answered = tx_.refused() - refused;
  if (also_answered != 0) QueueCounts::add(counts_.tx_refused, also_answered);
  tx_events_.add(count + static_cast<std::uint32_t>(also_answered), bytes, now);
  return count == stretch;
}

void NetQueue::pass_on(const Frame& frame) {
  QueueCounts::add(counts_.tx_frames);
  QueueCounts::add(counts_.tx_bytes, frame.bytes.size());
  if (wiring_.meter) wiring_.meter->spend(frame.bytes.size());
  if (!is_consistent(frame.offload, find_headers(frame.bytes))) {
    QueueCounts::add(counts_.tx_refused);
    return;
  }
  if (wiring_.capture) wiring_.capture->record(frame);
  const WireTakes& takes = wiring_.wire.takes;
  const bool as_is = (takes.blank_checksums || !frame.offload.checksum_blank) &&
                     (takes.large_frames || frame.offload.segmentation == Segmentation::none);
  if (as_is) return out_.send(frame);
  auto segments = Segmenter::of(frame, tx_scratch_);
  while (segments) {
    const auto segment = segments->next();
    if (!segment) break;
    out_.send(*segment);
  }
}

bool NetQueue::receive(Clock::time_point now) {
  std::uint32_t count = 0;
  rx_events_.look();
  while (count < stretch && receive_one()) ++count;
  rx_events_.add(count, 0, now);
  return count == stretch;
}

/// False: there is no frame, or no room for it.
bool NetQueue::receive_one() {
  if (!waiting_) waiting_ = next_received();
  if (!waiting_) return false;
  const std::uint32_t slots = RxSide::slots_for(*waiting_);
  const bool is_too_large = slots > XEN_NETIF_NR_SLOTS_MIN || (slots > 1 && !features_.scatter_gather);
  if (!is_too_large && !rx_.has_room(slots)) return false;
  if (!is_too_large && rx_.put(*waiting_)) {
    QueueCounts::add(counts_.rx_frames);
    QueueCounts::add(counts_.rx_bytes, waiting_->bytes.size());
  } else {
    QueueCounts::add(counts_.rx_dropped);
  }
  waiting_.reset();
  return true;
}

/// A frame of one of the lanes, in turn, or the next segment of one.
std::optional<Frame> NetQueue::next_received() {
  if (segments_) {
    if (const auto segment = segments_->next()) return segment;
    segments_.reset();
  }
  for (std::size_t n = 0; n < in_.size(); ++n) {
    Lane& lane = *in_[next_in_];
    next_in_ = (next_in_ + 1) % in_.size();
    while (const auto frame = lane.receive())
      if (auto usable = for_guest(*frame)) return usable;
  }
  return std::nullopt;
}

std::optional<Frame> NetQueue::for_guest(const Frame& frame) {
  if (wiring_.capture) wiring_.capture->record(frame);
  if (can_receive_as_is(frame)) return frame;
  segments_ = Segmenter::of(frame, rx_scratch_);
  if (segments_) return segments_->next();
  QueueCounts::add(counts_.rx_dropped);
  return std::nullopt;
}

bool NetQueue::can_receive_as_is(const Frame& frame) const {
  const Offload& offload = frame.offload;
  if (offload.segmentation == Segmentation::tcpv4 && !features_.segments_tcpv4) return false;
  if (offload.segmentation == Segmentation::tcpv6 && !features_.segments_tcpv6) return false;
  if (!offload.checksum_blank) return true;
  const auto headers = find_headers(frame.bytes);
  if (!headers) return false;
  return headers->is_ipv6 ? features_.blank_checksum_ipv6 : features_.blank_checksum_ipv4;
}

/// Events for transmitted frames only free their memory; those for received ones carry data, which waits as
/// long as more comes. A few large frames fill a ring, and a guest without room has to see what it got.
void NetQueue::tell(Clock::time_point now) {
  const bool for_tx = tx_events_.tells(false, now);
  const bool for_rx = rx_events_.tells(waiting_.has_value(), now);
  if (!rx_end_) {
    if (!for_tx && !for_rx) return;
    tx_end_->notify_guest();
    QueueCounts::add(counts_.events_sent);
    return;
  }
  if (for_tx) tx_end_->notify_guest();
  if (for_rx) rx_end_->notify_guest();
  QueueCounts::add(counts_.events_sent, (for_tx ? 1 : 0) + (for_rx ? 1 : 0));
}

/// Asks the guest for the events that are missing, or says how long it goes without.
QueueLink::Rest NetQueue::rest(Clock::time_point now) {
  if (waiting_ && rx_.await(RxSide::slots_for(*waiting_))) return no_rest;
  for (const EventGathering* events : {&tx_events_, &rx_events_})
    if (const auto looks_after = events->rest(now)) return looks_after;
  const Rest until_told = tx_events_.until_told(now);
  if (!out_.can_send()) return earlier(until_told, until_room);
  if (metered_) return earlier(until_told, *metered_);
  return tx_.await() ? Rest(no_rest) : until_told;
}

void NetQueue::add_descriptors(std::vector<pollfd>& all) const {
  if (is_hushed_) return;
  const bool receives = !waiting_ && !segments_;
  if (receives)
    for (Lane* lane : in_) all.push_back({lane->descriptor(), POLLIN, 0});
  if (out_.waits_to_send()) all.push_back({out_.descriptor(), POLLOUT, 0});
}

bool NetQueue::hush() {
  hush_asked_ = true;
  return is_hushed_;
}

bool NetQueue::see_off() { return !tx_end_->is_connected() && (!rx_end_ || !rx_end_->is_connected()); }

}  // namespace pinfold::devices::net
