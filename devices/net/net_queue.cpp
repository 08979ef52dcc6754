#include "devices/net/net_queue.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices::net {

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
      out_(*wiring.wire.lanes[queue % wiring.wire.lanes.size()]),
      tx_buffer_(most_frame_bytes),
      tx_scratch_(most_frame_bytes),
      rx_scratch_(most_frame_bytes) {
  for (std::size_t lane = queue; lane < wiring.wire.lanes.size(); lane += queues)
    in_.push_back(wiring.wire.lanes[lane].get());
}

NetQueue::~NetQueue() { grants_.settle(); }

const char* NetQueue::fault() const {
  const char* const fault = tx_.fault();
  return fault != nullptr ? fault : rx_.fault();
}

QueueLink::Rest NetQueue::serve(bool ending) {
  if (ending || fault() != nullptr) return std::nullopt;
  const bool more_to_send = transmit();
  const bool more_received = receive();
  publish();
  grants_.settle();
  if (fault() != nullptr) return std::nullopt;
  return more_to_send || more_received ? Rest(no_rest) : rest();
}

bool NetQueue::transmit() {
  last_burst_ = 0;
  metered_.reset();
  bool more = true;
  while (more && last_burst_ < stretch && out_.can_send()) {
    if (wiring_.meter) metered_ = wiring_.meter->wait(Meter::Clock::now());
    if (metered_) break;
    const auto refused = tx_.refused();
    const auto frame = tx_.next(tx_buffer_);
    if (tx_.refused() != refused) QueueCounts::add(counts_.tx_refused, tx_.refused() - refused);
    more = frame.has_value();
    if (!frame) break;
    ++last_burst_;
    pass_on(*frame);
  }
  out_.flush();
  return last_burst_ == stretch;
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

bool NetQueue::receive() {
  for (std::uint32_t n = 0; n < stretch; ++n) {
    if (!waiting_) waiting_ = next_received();
    if (!waiting_) return false;
    const std::uint32_t slots = RxSide::slots_for(*waiting_);
    if (slots > XEN_NETIF_NR_SLOTS_MIN || (slots > 1 && !features_.scatter_gather)) {
      QueueCounts::add(counts_.rx_dropped);
      waiting_.reset();
      continue;
    }
    if (!rx_.has_room(slots)) return false;
    if (rx_.put(*waiting_)) {
      QueueCounts::add(counts_.rx_frames);
      QueueCounts::add(counts_.rx_bytes, waiting_->bytes.size());
    } else {
      QueueCounts::add(counts_.rx_dropped);
    }
    waiting_.reset();
  }
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

void NetQueue::publish() {
  const bool for_tx = tx_.publish(), for_rx = rx_.publish();
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
QueueLink::Rest NetQueue::rest() {
  if (waiting_ && rx_.await(RxSide::slots_for(*waiting_))) return no_rest;
  if (!out_.can_send()) return until_room;
  if (metered_) return metered_;
  if (last_burst_ >= burst) return look_after;
  return tx_.await() ? Rest(no_rest) : std::nullopt;
}

void NetQueue::add_descriptors(std::vector<pollfd>& all) const {
  const bool receives = !waiting_ && !segments_;
  if (receives)
    for (Lane* lane : in_) all.push_back({lane->descriptor(), POLLIN, 0});
  if (out_.waits_to_send()) all.push_back({out_.descriptor(), POLLOUT, 0});
}

}  // namespace pinfold::devices::net
