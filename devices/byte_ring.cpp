#include "devices/byte_ring.hpp"

#include <algorithm>
#include <utility>

namespace pinfold::devices {

RingReader::RingReader(vmm::SharedPage page, RingLayout layout)
    : page_(std::move(page)), layout_(layout), consumer_(page_.load<std::uint32_t>(layout.consumer)) {}

std::size_t RingReader::read(std::span<std::byte> to) {
  const std::uint32_t available = page_.load<std::uint32_t>(layout_.producer) - consumer_;
  if (available > layout_.size) {
    fault_ = true;
    return 0;
  }
  const std::size_t take = std::min<std::size_t>(available, to.size());
  const std::size_t start = consumer_ & (layout_.size - 1);
  const std::size_t first = std::min(take, layout_.size - start);
  page_.copy_out(layout_.data + start, to.first(first));
  page_.copy_out(layout_.data, to.subspan(first, take - first));
  consumer_ += static_cast<std::uint32_t>(take);
  page_.store(layout_.consumer, consumer_);
  return take;
}

RingWriter::RingWriter(vmm::SharedPage page, RingLayout layout)
    : page_(std::move(page)), layout_(layout), producer_(page_.load<std::uint32_t>(layout.producer)) {}

std::size_t RingWriter::write(std::span<const std::byte> from) {
  const std::uint32_t used = producer_ - page_.load<std::uint32_t>(layout_.consumer);
  if (used > layout_.size) {
    fault_ = true;
    return 0;
  }
  const std::size_t put = std::min(from.size(), layout_.size - used);
  const std::size_t start = producer_ & (layout_.size - 1);
  const std::size_t first = std::min(put, layout_.size - start);
  page_.copy_in(layout_.data + start, from.first(first));
  page_.copy_in(layout_.data, from.subspan(first, put - first));
  producer_ += static_cast<std::uint32_t>(put);
  page_.store(layout_.producer, producer_);
  return put;
}

}  // namespace pinfold::devices
