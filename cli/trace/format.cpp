#include "trace/format.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

#include "trace/bytes.hpp"

namespace pinfold::trace {
namespace {

constexpr std::size_t checksum_bytes = 4;
constexpr std::uint64_t most_ticks_per_second = 1'000'000'000'000;
constexpr std::uint16_t first_reserved_domain = 0x7ff0;  // xen/xen.h: DOMID_FIRST_RESERVED

std::uint32_t crc(std::uint32_t before, std::span<const std::byte> bytes) {
  // Without a buffer, zlib returns the sum to begin with.
  if (bytes.empty()) return before;
  // zlib's own byte type; the bytes are the same.
  return static_cast<std::uint32_t>(
      crc32_z(before, static_cast<const Bytef*>(static_cast<const void*>(bytes.data())), bytes.size()));
}

bool is_sane(const LogHeader& h) {
  return h.ticks_per_second != 0 && h.ticks_per_second <= most_ticks_per_second && h.machine_frames != 0 &&
         h.machine_frames <= h.most_frames && h.most_frames <= most_frames &&
         h.withheld.first.raw() <= h.most_frames &&
         h.withheld.count <= h.most_frames - h.withheld.first.raw() && h.mirror_pages != 0 &&
         h.mirror_pages <= 2 * most_frames && h.vcpus <= most_vcpus &&
         h.domain.raw() < first_reserved_domain && h.machphys_slot < pvmmu::entries_per_table &&
         h.most_windows <= h.mirror_pages;
}

// The two share a word. Before linear page tables, its upper part was zero.
constexpr unsigned slot_bits = 16;
std::uint64_t slot_and_windows(const LogHeader& h) { return h.machphys_slot | h.most_windows << slot_bits; }
void set_slot_and_windows(LogHeader& h, std::uint64_t word) {
  h.machphys_slot = word & ((1U << slot_bits) - 1);
  h.most_windows = word >> slot_bits;
}

}  // namespace

std::string LogError::describe() const {
  return offset == 0 ? message : fmt::format("{} (at byte {})", message, offset);
}

std::uint32_t checksum_of(std::span<const std::byte> header, std::span<const std::byte> payload) {
  return crc(crc(0, header), payload);
}

std::vector<std::byte> encode(const LogHeader& header) {
  std::vector<std::byte> bytes;
  ByteWriter to(bytes);
  for (const char c : log_magic) to.byte(static_cast<std::uint8_t>(c));
  to.fixed(header.version, 4);
  to.fixed(log_header_bytes, 4);
  to.fixed(header.ticks_per_second, 8);
  to.fixed(header.started_ns, 8);
  to.fixed(header.machine_frames, 8);
  to.fixed(header.max_frames, 8);
  to.fixed(header.mirror_pages, 8);
  to.fixed(header.mirrors_at.raw(), 8);
  to.fixed(header.domain.raw(), 4);
  to.fixed(header.vcpus, 4);
  to.fixed(slot_and_windows(header), 8);
  for (const pvmmu::Pte entry : header.l4_xen_slots) to.fixed(entry.raw(), 8);
  to.fixed(header.withheld.first.raw(), 8);
  to.fixed(header.withheld.count, 8);
  if (header.version != oldest_version) to.fixed(std::max(header.most_frames, header.machine_frames), 8);
  bytes.resize(log_header_bytes - checksum_bytes);
  to.fixed(crc(0, bytes), checksum_bytes);
  return bytes;
}

LogResult<LogHeader> decode_log_header(std::span<const std::byte> bytes) {
  const auto bad = [](std::uint64_t offset, std::string what) {
    return tl::unexpected(LogError{offset, std::move(what)});
  };
  if (bytes.size() < log_header_bytes) return bad(bytes.size(), "the log ends within its header");
  ByteReader from(bytes);
  for (const char c : log_magic)
    if (from.byte() != static_cast<std::uint8_t>(c)) return bad(0, "not a log of MMU events");
  const std::uint64_t version = from.fixed(4);
  if (version < oldest_version || version > format_version)
    return bad(8, fmt::format("the log has version {} of the format; this program reads versions {} to {}",
                              version, oldest_version, format_version));
  if (from.fixed(4) != log_header_bytes) return bad(12, "the header's size is not that of this version");
  const auto body = bytes.first(log_header_bytes - checksum_bytes);
  ByteReader last(bytes.subspan(body.size()));
  if (last.fixed(checksum_bytes) != crc(0, body)) return bad(body.size(), "the header is damaged");

  LogHeader header;
  header.version = static_cast<std::uint32_t>(version);
  header.ticks_per_second = from.fixed(8);
  header.started_ns = from.fixed(8);
  header.machine_frames = from.fixed(8);
  header.max_frames = from.fixed(8);
  header.mirror_pages = from.fixed(8);
  header.mirrors_at = Mfn(from.fixed(8));
  header.domain = DomId(static_cast<std::uint16_t>(from.fixed(4)));
  header.vcpus = static_cast<std::uint32_t>(from.fixed(4));
  set_slot_and_windows(header, from.fixed(8));
  for (pvmmu::Pte& entry : header.l4_xen_slots) entry = pvmmu::Pte(from.fixed(8));
  header.withheld.first = Mfn(from.fixed(8));
  header.withheld.count = from.fixed(8);
  header.most_frames = version == oldest_version ? header.machine_frames : from.fixed(8);
  if (!is_sane(header)) return bad(16, "the header describes no machine that can be");
  return header;
}

std::array<std::uint64_t, domain_words> words_of(const LogHeader& d) {
  std::array<std::uint64_t, domain_words> words{d.vcpus,        d.machine_frames,   d.max_frames,
                                                d.mirror_pages, d.mirrors_at.raw(), slot_and_windows(d)};
  for (std::size_t i = 0; i < pvmmu::xen_slots; ++i)
    words[domain_words - pvmmu::xen_slots + i] = d.l4_xen_slots[i].raw();
  return words;
}

std::optional<LogHeader> header_of_domain(const LogHeader& log, DomId domain,
                                          std::span<const std::uint64_t> words) {
  if (words.size() != domain_words || words[0] > most_vcpus) return std::nullopt;
  LogHeader d = log;
  d.domain = domain;
  d.vcpus = static_cast<std::uint32_t>(words[0]);
  d.machine_frames = words[1];
  d.max_frames = words[2];
  d.mirror_pages = words[3];
  d.mirrors_at = Mfn(words[4]);
  set_slot_and_windows(d, words[5]);
  for (std::size_t i = 0; i < pvmmu::xen_slots; ++i)
    d.l4_xen_slots[i] = pvmmu::Pte(words[domain_words - pvmmu::xen_slots + i]);
  if (!is_sane(d)) return std::nullopt;
  return d;
}

std::vector<std::byte> encode_block(BlockHeader header, std::span<const std::byte> payload) {
  std::vector<std::byte> bytes;
  bytes.reserve(block_header_bytes + payload.size());
  ByteWriter to(bytes);
  to.fixed(block_magic, 4);
  to.fixed(payload.size(), 4);
  to.fixed(header.first, 8);
  to.fixed(header.time, 8);
  to.fixed(header.events, 4);
  to.fixed(checksum_of(bytes, payload), 4);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

std::optional<BlockHeader> decode_block_header(std::span<const std::byte> bytes) {
  ByteReader from(bytes);
  BlockHeader header;
  const bool magic = from.fixed(4) == block_magic;
  header.payload = static_cast<std::uint32_t>(from.fixed(4));
  header.first = from.fixed(8);
  header.time = from.fixed(8);
  header.events = static_cast<std::uint32_t>(from.fixed(4));
  header.checksum = static_cast<std::uint32_t>(from.fixed(4));
  if (from.failed() || !magic || header.payload > most_payload) return std::nullopt;
  return header;
}

}  // namespace pinfold::trace
