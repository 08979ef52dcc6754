// A request of a block frontend, checked (xen/io/blkif.h).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <tl/expected.hpp>
#include <vector>

#include "devices/block/image.hpp"
#include "devices/xen_abi.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::devices::block {

/// The most segments that a request has, direct or indirect: half a page of them.
inline constexpr std::uint32_t max_segments = 256;

/// A part of a granted page: bytes `offset` to `offset + size`, whole sectors within the page.
struct Segment {
  GrantRef ref;
  std::uint32_t offset = 0;
  std::uint32_t size = 0;
};

/// A request whose numbers fit together and lie within the image. Grants are still to be looked at.
struct Request {
  Operation operation = Operation::read;
  /// A flush comes first: BLKIF_OP_FLUSH_DISKCACHE that also has data to write.
  bool flush_first = false;
  std::uint64_t offset = 0;       ///< Bytes from the image's start.
  std::uint64_t bytes = 0;        ///< Of the segments, or to discard.
  std::vector<Segment> segments;  ///< In the order of the image.
};

/// BLKIF_RSP_*: why a request fails.
using RequestStatus = std::int16_t;

/// Copies the first bytes of a granted page; false if the guest has not granted it.
using ReadGranted = std::function<bool(GrantRef, std::span<std::byte>)>;

/// The operation that a response names: of an indirect request it is that of its segments, as frontends
/// expect.
[[nodiscard]] std::uint8_t operation_to_echo(const blkif_request& raw);

/// Checks a request that was copied from the ring. `read_granted` reads the pages of indirect segments, each
/// once. BLKIF_RSP_EOPNOTSUPP: not an operation that this image has; BLKIF_RSP_ERROR: everything else.
[[nodiscard]] tl::expected<Request, RequestStatus> check_request(const blkif_request& raw,
                                                                 const Geometry& geometry,
                                                                 const ReadGranted& read_granted);

}  // namespace pinfold::devices::block
