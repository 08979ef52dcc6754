// Small logs that ask for much.
#pragma once

#include <zstd.h>

#include <string>
#include <vector>

#include "trace/event_code.hpp"

namespace pinfold::trace::test {

struct Bomb {
  std::string name;
  std::vector<std::byte> log;
};

/// A log of these events, all in one block; its machine is as large as it may be unless told.
[[nodiscard]] inline std::vector<std::byte> log_of(const std::vector<pvmmu::TraceEvent>& events,
                                                   std::uint64_t frames = most_frames,
                                                   std::uint32_t version = format_version) {
  LogHeader header;
  header.version = version;
  header.machine_frames = header.max_frames = frames;
  header.mirror_pages = most_frames;
  std::vector<std::byte> log = encode(header), payload;
  EventCoder coder;
  coder.begin_block(0);
  for (const pvmmu::TraceEvent& event : events) coder.append(payload, event, 0, 0);
  BlockHeader block;
  block.events = static_cast<std::uint32_t>(events.size());
  const auto bytes = encode_block(block, payload);
  log.insert(log.end(), bytes.begin(), bytes.end());
  return log;
}

/// What a fresh validator says when it is asked for `count` frames and gives them from `first` on.
[[nodiscard]] inline pvmmu::TraceEvent allocation(Mfn first, std::uint64_t count,
                                                  std::uint64_t alignment = 1) {
  pvmmu::TraceEvent event;
  event.kind = pvmmu::TraceKind::allocate;
  event.frame = first;
  event.count = count;
  event.argument = alignment;
  event.after = pvmmu::FrameState{pvmmu::FrameType::none, false, 1, 0};
  return event;
}

[[nodiscard]] inline pvmmu::TraceEvent of_kind(pvmmu::TraceKind kind, Mfn frame = no_mfn,
                                               std::uint64_t count = 0) {
  pvmmu::TraceEvent event;
  event.kind = kind;
  event.frame = frame;
  event.count = count;
  return event;
}

/// All of the machine: the records of its frames, and its machine-to-phys table.
[[nodiscard]] inline Bomb whole_machine() {
  const std::uint64_t all = most_frames - 1;
  return {"whole-machine",
          log_of({allocation(Mfn(1), all), of_kind(pvmmu::TraceKind::set_machphys, Mfn(1), all),
                  of_kind(pvmmu::TraceKind::destroy)})};
}

/// The frames that are skipped to reach an alignment: all of them go into the pool.
[[nodiscard]] inline Bomb skipped_frames() {
  constexpr std::uint64_t alignment = 1 << 20;
  std::vector<pvmmu::TraceEvent> events;
  for (std::uint64_t first = alignment; first < most_frames; first += alignment)
    events.push_back(allocation(Mfn(first), 1, alignment));
  return {"skipped-frames", log_of(events, most_frames, 1)};
}

/// What comes from the pool is scrubbed, page by page: 2 GiB here.
[[nodiscard]] inline Bomb scrubbed_pages() {
  constexpr std::uint64_t alignment = 1 << 19;
  // The second takes the last frame: only the pool is left.
  return {"scrubbed-pages",
          log_of({allocation(Mfn(alignment), 1, alignment), allocation(Mfn(2 * alignment), 1, alignment),
                  allocation(Mfn(2), alignment - 2, 2)},
                 2 * alignment + 1, 1)};
}

/// The same without a pool: 8 GiB.
[[nodiscard]] inline Bomb cleared_pages() {
  constexpr std::uint64_t frames = 1 << 21;
  pvmmu::TraceEvent event = allocation(Mfn(1), frames - 1);
  event.marks.cleared = true;
  return {"cleared-pages", log_of({event}, frames)};
}

/// A domain, of which nothing is known but that it comes.
[[nodiscard]] inline pvmmu::TraceEvent beginning(DomId domain, std::span<const std::uint64_t> words) {
  pvmmu::TraceEvent event = of_kind(pvmmu::TraceKind::domain_begins);
  event.domain = domain;
  event.contents = words;
  return event;
}

/// Domains that come and go in a large machine: at the end of each, all records are looked at.
[[nodiscard]] inline Bomb domains_come_and_go() {
  LogHeader domain;
  domain.machine_frames = domain.most_frames = most_frames;
  domain.mirror_pages = most_frames;
  const auto words = words_of(domain);
  std::vector<pvmmu::TraceEvent> events;
  for (std::uint16_t i = 2; i < 200; ++i) {
    events.push_back(beginning(DomId(i), words));
    events.push_back(of_kind(pvmmu::TraceKind::destroy));
    events.back().domain = DomId(i);
  }
  return {"domains-come-and-go", log_of(events)};
}

/// Domains that only come.
[[nodiscard]] inline Bomb domains_that_stay() {
  LogHeader domain;
  domain.machine_frames = domain.most_frames = most_frames;
  domain.mirror_pages = most_frames;
  const auto words = words_of(domain);
  std::vector<pvmmu::TraceEvent> events;
  for (std::uint16_t i = 2; i < 200; ++i) events.push_back(beginning(DomId(i), words));
  return {"domains-that-stay", log_of(events)};
}

/// The same frames, again and again.
[[nodiscard]] inline Bomb machphys_again_and_again() {
  const std::uint64_t frames = 1 << 21;
  pvmmu::TraceEvent set = of_kind(pvmmu::TraceKind::set_machphys, Mfn(1), frames);
  set.before = set.after = pvmmu::FrameState{pvmmu::FrameType::none, false, 1, 0};
  std::vector<pvmmu::TraceEvent> events(500, set);
  events.insert(events.begin(), allocation(Mfn(1), frames));
  return {"machphys-again", log_of(events)};
}

/// For readers that draw: frames that come and go in ranges.
[[nodiscard]] inline Bomb ranges_freed() {
  std::vector<pvmmu::TraceEvent> events(500, of_kind(pvmmu::TraceKind::freed_frame, Mfn(0), ~0ULL));
  return {"ranges-freed", log_of(events)};
}

[[nodiscard]] inline Bomb ended_again_and_again() {
  return {"ends-again", log_of(std::vector(20'000, of_kind(pvmmu::TraceKind::destroy)))};
}

[[nodiscard]] inline std::vector<Bomb> bombs() {
  return {whole_machine(),    skipped_frames(),        scrubbed_pages(), machphys_again_and_again(),
          ranges_freed(),     ended_again_and_again(), cleared_pages(),  domains_come_and_go(),
          domains_that_stay()};
}

/// As a zstd frame.
[[nodiscard]] inline std::vector<std::byte> packed(const std::vector<std::byte>& bytes) {
  std::vector<std::byte> result(ZSTD_compressBound(bytes.size()));
  result.resize(ZSTD_compress(result.data(), result.size(), bytes.data(), bytes.size(), 3));
  return result;
}

}  // namespace pinfold::trace::test
