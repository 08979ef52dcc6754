#include "devices/block/request_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace pinfold::devices::block {
namespace {

/// Linux's frontend takes both errors that blkif.h names, as the answer to a flush, for "there is no flush",
/// and reports to its file systems that all is well. It takes any other status for an I/O error.
constexpr int flush_has_failed = -3;

int status_of(Operation operation, int error) {
  if (error == 0) return BLKIF_RSP_OKAY;
  if (operation == Operation::flush) return flush_has_failed;
  return error == EOPNOTSUPP ? BLKIF_RSP_EOPNOTSUPP : BLKIF_RSP_ERROR;
}

}  // namespace

bool RequestQueue::serve(Pacing::Clock::time_point now) {
  const std::uint32_t ready = ring_.unpublished();
  collect();
  const std::uint32_t found = take_requests();
  transfers_.start();
  collect();           // what the host had in memory is done already
  transfers_.start();  // a write that waited for its flush
  grants_.settle();
  if (found != 0) pacing_.found(now);
  if (ring_.unpublished() != ready) pacing_.done(now);
  if (!pacing_.shows(ring_.unpublished(), now)) return false;
  const bool wanted = ring_.publish();
  if (wanted) QueueCounts::add(counts_.events_sent);
  return wanted;
}

void RequestQueue::collect() {
  transfers_.collect([this](const Completion& completion) { on_done(completion); });
}

std::uint32_t RequestQueue::take_requests() {
  std::uint32_t count = 0;
  for (; taking_ && count < RequestRing::size; ++count) {
    const auto request = ring_.take();
    if (!request) break;
    begin(*request);
  }
  return count;
}

void RequestQueue::begin(const blkif_request& raw) {
  QueueCounts::add(counts_.requests);
  const auto read_granted = [this](GrantRef ref, std::span<std::byte> to) {
    const auto page = grants_.use(ref, GrantUse::read);
    if (page) page->copy_out(0, to);
    return page.has_value();
  };
  auto request = check_request(raw, image_.geometry(), read_granted);
  if (!request) return respond(raw.id, operation_to_echo(raw), request.error());
  const auto slot = std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return !s.used; });
  if (slot == slots_.end()) std::abort();  // the ring gives no more requests than it has room for
  slot->used = true;
  slot->id = raw.id;
  slot->operation = operation_to_echo(raw);
  slot->request = std::move(*request);
  const auto number = static_cast<std::size_t>(slot - slots_.begin());
  const Operation first = slot->request.flush_first ? Operation::flush : slot->request.operation;
  if (!take_grants(*slot) || !submit(number, first)) on_done({number, EIO});
}

bool RequestQueue::take_grants(Slot& slot) {
  // A read from the image writes the guest's memory.
  const GrantUse use = slot.request.operation == Operation::read ? GrantUse::write : GrantUse::read;
  for (const Segment& segment : slot.request.segments) {
    auto page = grants_.use(segment.ref, use);
    if (!page) return false;
    const auto area = page->area(segment.offset, segment.size);
    if (!area) return false;
    slot.memory.push_back(*area);
    slot.pages.push_back(std::move(*page));
  }
  return true;
}

bool RequestQueue::submit(std::size_t slot, Operation operation) {
  Transfer transfer;
  transfer.operation = operation;
  transfer.token = slot;
  if (operation != Operation::flush) {
    transfer.offset = slots_[slot].request.offset;
    transfer.bytes = slots_[slot].request.bytes;
    transfer.memory = slots_[slot].memory;
  }
  return transfers_.submit(transfer);
}

void RequestQueue::on_done(const Completion& completion) {
  Slot& slot = slots_.at(completion.token);
  if (completion.error == 0 && std::exchange(slot.request.flush_first, false) &&
      submit(completion.token, slot.request.operation))
    return;
  const int status = status_of(slot.request.operation, completion.error);
  if (status == BLKIF_RSP_OKAY) counts_.add_done(slot.request.operation, slot.request.bytes);
  // The frontend may use the frames for anything once it has the response, so the uses end before.
  slot.memory.clear();
  slot.pages.clear();
  slot.used = false;
  respond(slot.id, slot.operation, status);
}

void RequestQueue::respond(std::uint64_t id, std::uint8_t operation, int status) {
  if (status != BLKIF_RSP_OKAY) QueueCounts::add(counts_.failed);
  ring_.respond({id, operation, static_cast<std::int16_t>(status)});
}

}  // namespace pinfold::devices::block
