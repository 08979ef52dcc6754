#include "devices/block/request.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <optional>

namespace pinfold::devices::block {
namespace {

static_assert(sizeof(blkif_request_discard) == 32 && sizeof(blkif_request_indirect) == 64 &&
              offsetof(blkif_request_indirect, id) == 8 &&
              offsetof(blkif_request_indirect, indirect_grefs) == 28);

constexpr std::uint32_t sectors_per_page = page_size / sector_bytes;
constexpr std::uint32_t segments_per_page = page_size / sizeof(blkif_request_segment);
static_assert(max_segments <= segments_per_page * BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST);

using RawSegments = std::vector<blkif_request_segment>;

/// What a request's operation asks for, apart from its segments.
struct Intent {
  Operation operation;
  bool flush_first = false;
};

tl::unexpected<RequestStatus> refuse(int status) {
  return tl::unexpected(static_cast<RequestStatus>(status));
}

/// The same bytes as another structure of the ring entry.
template <class As>
As reinterpret(const blkif_request& raw) {
  static_assert(sizeof(As) <= sizeof(raw) && std::is_trivially_copyable_v<As>);
  As as;
  std::memcpy(&as, &raw, sizeof as);
  return as;
}

tl::expected<Intent, RequestStatus> intent_of(std::uint8_t operation, const Geometry& geometry) {
  switch (operation) {
    case BLKIF_OP_READ: return Intent{Operation::read};
    case BLKIF_OP_WRITE: return Intent{Operation::write};
    case BLKIF_OP_FLUSH_DISKCACHE:
      if (!geometry.can_flush) return refuse(BLKIF_RSP_EOPNOTSUPP);
      return Intent{Operation::flush};
    case BLKIF_OP_DISCARD:
      if (!geometry.can_discard) return refuse(BLKIF_RSP_EOPNOTSUPP);
      return Intent{Operation::discard};
    default: return refuse(BLKIF_RSP_EOPNOTSUPP);
  }
}

/// `sectors` from `first` on, in bytes, if the image has them.
tl::expected<Request, RequestStatus> within(const Geometry& geometry, Operation operation,
                                            std::uint64_t first, std::uint64_t sectors) {
  if (sectors == 0 || sectors > geometry.sectors || first > geometry.sectors - sectors)
    return refuse(BLKIF_RSP_ERROR);
  Request request;
  request.operation = operation;
  request.offset = first * sector_bytes;
  request.bytes = sectors * sector_bytes;
  const bool aligned = request.offset % geometry.logical_sector_bytes == 0 &&
                       request.bytes % geometry.logical_sector_bytes == 0;
  if (!aligned || (operation != Operation::read && geometry.read_only)) return refuse(BLKIF_RSP_ERROR);
  return request;
}

tl::expected<Request, RequestStatus> with_segments(Intent intent, std::uint64_t first, const RawSegments& raw,
                                                   const Geometry& geometry) {
  std::vector<Segment> segments;
  segments.reserve(raw.size());
  std::uint64_t sectors = 0;
  for (const auto& segment : raw) {
    if (segment.first_sect > segment.last_sect || segment.last_sect >= sectors_per_page)
      return refuse(BLKIF_RSP_ERROR);
    const std::uint32_t count = segment.last_sect - segment.first_sect + 1U;
    segments.push_back({GrantRef(segment.gref),
                        std::uint32_t{segment.first_sect} * std::uint32_t{sector_bytes},
                        count * std::uint32_t{sector_bytes}});
    sectors += count;
  }
  auto request = within(geometry, intent.operation, first, sectors);
  if (!request) return request;
  request->flush_first = intent.flush_first;
  request->segments = std::move(segments);
  return request;
}

/// Copies the segments that an indirect request names.
std::optional<RawSegments> fetch_segments(const blkif_request_indirect& raw,
                                          const ReadGranted& read_granted) {
  if (raw.nr_segments == 0 || raw.nr_segments > max_segments) return std::nullopt;
  RawSegments segments(raw.nr_segments);
  for (std::size_t done = 0, page = 0; done < segments.size(); done += segments_per_page, ++page) {
    const auto part =
        std::span(segments).subspan(done, std::min<std::size_t>(segments_per_page, segments.size() - done));
    if (!read_granted(GrantRef(raw.indirect_grefs[page]), std::as_writable_bytes(part))) return std::nullopt;
  }
  return segments;
}

tl::expected<Request, RequestStatus> check_indirect(const blkif_request_indirect& raw,
                                                    const Geometry& geometry,
                                                    const ReadGranted& read_granted) {
  if (raw.indirect_op != BLKIF_OP_READ && raw.indirect_op != BLKIF_OP_WRITE)
    return refuse(BLKIF_RSP_EOPNOTSUPP);
  const auto segments = fetch_segments(raw, read_granted);
  if (!segments) return refuse(BLKIF_RSP_ERROR);
  const Intent intent{raw.indirect_op == BLKIF_OP_READ ? Operation::read : Operation::write};
  return with_segments(intent, raw.sector_number, *segments, geometry);
}

}  // namespace

std::uint8_t operation_to_echo(const blkif_request& raw) {
  return raw.operation == BLKIF_OP_INDIRECT ? reinterpret<blkif_request_indirect>(raw).indirect_op
                                            : raw.operation;
}

tl::expected<Request, RequestStatus> check_request(const blkif_request& raw, const Geometry& geometry,
                                                   const ReadGranted& read_granted) {
  if (raw.operation == BLKIF_OP_INDIRECT)
    return check_indirect(reinterpret<blkif_request_indirect>(raw), geometry, read_granted);
  auto intent = intent_of(raw.operation, geometry);
  if (!intent) return tl::unexpected(intent.error());
  if (intent->operation == Operation::discard) {
    const auto discard = reinterpret<blkif_request_discard>(raw);
    return within(geometry, Operation::discard, discard.sector_number, discard.nr_sectors);
  }
  if (raw.nr_segments > BLKIF_MAX_SEGMENTS_PER_REQUEST) return refuse(BLKIF_RSP_ERROR);
  if (intent->operation == Operation::flush) {
    if (raw.nr_segments == 0) {
      Request flush;
      flush.operation = Operation::flush;
      return flush;
    }
    *intent = {Operation::write, true};
  }
  const RawSegments segments(raw.seg, raw.seg + raw.nr_segments);
  return with_segments(*intent, raw.sector_number, segments, geometry);
}

}  // namespace pinfold::devices::block
