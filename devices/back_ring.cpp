#include "devices/back_ring.hpp"

#include <utility>

namespace pinfold::devices {
namespace {

// As ring_shape() asserts for each ring.
constexpr std::size_t req_prod = 0, req_event = 4, rsp_prod = 8, rsp_event = 12, first_entry = 64;

}  // namespace

BackRing::BackRing(GrantedPage page, RingShape shape) : page_(std::move(page)), shape_(shape) {
  taken_ = responded_ = published_ = told_ = page_.shared().load<std::uint32_t>(rsp_prod);
}

std::size_t BackRing::place(std::uint32_t index) const {
  return first_entry + index % shape_.entries * shape_.entry_bytes;
}

std::uint32_t BackRing::waiting() {
  if (broken_) return 0;
  const std::uint32_t waiting = page_.shared().load<std::uint32_t>(req_prod) - taken_;
  broken_ = waiting > shape_.entries - under_way();
  return broken_ ? 0 : waiting;
}

bool BackRing::take(std::span<std::byte> request) {
  if (waiting() == 0) return false;
  page_.copy_out(place(taken_), request);
  ++taken_;
  return true;
}

void BackRing::respond(std::span<const std::byte> response) {
  page_.shared().copy_in(place(responded_), response);
  ++responded_;
}

void BackRing::show() {
  if (published_ == responded_) return;
  published_ = responded_;
  page_.shared().store(rsp_prod, published_);
}

/// RING_PUSH_RESPONSES_AND_CHECK_NOTIFY: is rsp_event among what was shown? A frontend that moves it first
/// takes what is before it, and looks at rsp_prod once more afterwards.
bool BackRing::owes_event() {
  const bool owes = published_ - page_.shared().load<std::uint32_t>(rsp_event) < untold();
  if (!owes) told_ = published_;
  return owes;
}

bool BackRing::publish() {
  show();
  const bool owed = owes_event();
  told_ = published_;
  return owed;
}

bool BackRing::await(std::uint32_t more) {
  if (broken_) return false;
  page_.shared().store(req_event, taken_ + more);
  return waiting() >= more;
}

}  // namespace pinfold::devices
