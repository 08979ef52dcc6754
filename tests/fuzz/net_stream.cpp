// A peer of a network interface's socket that sends anything, in pieces of any size.
#include <algorithm>

#include "devices/net/frame_stream.hpp"
#include "devices/net/segmenter.hpp"
#include "input.hpp"

namespace {

using namespace pinfold::devices::net;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

/// What a queue does with a frame for a guest that can't take it as it is.
void use(std::span<std::byte> frame, std::uint8_t options) {
  promise(frame.size() >= least_frame_bytes && frame.size() <= most_frame_bytes,
          "a frame has a frame's size");
  static std::vector<std::byte> scratch(most_frame_bytes);
  Offload offload;
  offload.checksum_blank = true;
  offload.segment_bytes = static_cast<std::uint16_t>(40 + options);
  offload.segmentation = options % 3 == 0   ? Segmentation::none
                         : options % 3 == 1 ? Segmentation::tcpv4
                                            : Segmentation::tcpv6;
  auto segments = Segmenter::of({frame, offload}, scratch);
  std::size_t bytes = 0, count = 0;
  while (segments) {
    const auto segment = segments->next();
    if (!segment) break;
    promise(find_headers(segment->bytes).has_value(), "a segment is a packet");
    bytes += segment->bytes.size();
    ++count;
  }
  promise(bytes <= frame.size() + count * most_header_bytes, "segments are as large as their frame");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  FrameStream stream;
  while (!input.empty() && !stream.is_broken()) {
    const auto options = input.take<std::uint8_t>();
    const auto piece = input.take_bytes(input.take<std::uint16_t>());
    const auto space = stream.space();
    promise(!space.empty(), "there is room for the rest of a frame");
    const auto now = std::min(space.size(), piece.size());
    std::copy_n(std::as_bytes(piece).begin(), now, space.begin());
    stream.add(now);
    while (const auto frame = stream.next()) use(*frame, options);
  }
  return 0;
}
