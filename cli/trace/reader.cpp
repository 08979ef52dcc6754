#include "trace/reader.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pinfold::trace {

LogResult<LogReader> LogReader::open(const std::filesystem::path& file) {
  auto source = open_source(file);
  if (!source) return tl::unexpected(LogError{0, source.error()});
  return from(std::move(*source));
}

LogResult<LogReader> LogReader::from(std::span<const std::byte> bytes) {
  return from(std::make_unique<MemorySource>(bytes));
}

LogResult<LogReader> LogReader::from(std::unique_ptr<ByteSource> source) {
  LogReader reader(std::move(source));
  if (!reader.buffered(log_header_bytes)) {
    const std::string failure = reader.source_->failure();
    if (!failure.empty()) return tl::unexpected(LogError{reader.buffer_.size(), failure});
  }
  const auto header =
      decode_log_header(std::span(reader.buffer_).first(std::min(reader.buffer_.size(), log_header_bytes)));
  if (!header) return tl::unexpected(header.error());
  reader.header_ = *header;
  reader.buffer_.clear();
  reader.offset_ = log_header_bytes;
  return reader;
}

/// Are there so many bytes in the buffer? If not, the source has no more for now. `count` is the log's word:
/// the buffer grows with what is there.
bool LogReader::buffered(std::size_t count) {
  constexpr std::size_t step = 64 << 10;
  while (buffer_.size() < count) {
    const std::size_t have = buffer_.size();
    buffer_.resize(have + std::min(count - have, step));
    const std::size_t got = source_->read(std::span(buffer_).subspan(have));
    buffer_.resize(have + got);
    if (got == 0) return false;
  }
  return true;
}

LogReader::Step LogReader::stop(std::uint64_t offset, std::string message) {
  damaged_ = true;
  error_ = {offset, std::move(message)};
  return Step::damaged;
}

LogReader::Step LogReader::next_block() {
  const auto short_of = [&](const char* what) {
    if (const std::string failure = source_->failure(); !failure.empty())
      return stop(offset_ + buffer_.size(), failure);
    if (buffer_.empty()) return Step::end;
    error_ = {offset_ + buffer_.size(), fmt::format("the log ends within {}", what)};
    return Step::cut_off;
  };
  if (!buffered(block_header_bytes)) return short_of("a block's header");
  const std::span head = std::span<const std::byte>(buffer_).first(block_header_bytes);
  const auto header = decode_block_header(head);
  if (!header) return stop(offset_, "here should be a block, and is none");
  if (!buffered(block_header_bytes + header->payload)) return short_of("a block");
  const std::span payload = std::span<const std::byte>(buffer_).subspan(block_header_bytes, header->payload);
  constexpr std::size_t checksum_bytes = 4;
  if (checksum_of(std::span<const std::byte>(buffer_).first(block_header_bytes - checksum_bytes), payload) !=
      header->checksum)
    return stop(offset_, "the block that begins here is damaged");
  if (header->first != number_)
    return stop(offset_,
                fmt::format("the block that begins here is not the next one: it begins with event {}, "
                            "and the last one was followed by event {}",
                            header->first, number_));
  block_.swap(buffer_);
  buffer_.clear();
  block_at_ = offset_;
  offset_ += block_.size();
  left_ = header->events;
  decoder_.begin_block(std::span<const std::byte>(block_).subspan(block_header_bytes), header->time,
                       header_.domain);
  return Step::event;
}

LogReader::Step LogReader::next() {
  if (damaged_) return Step::damaged;
  while (left_ == 0)
    if (const Step step = next_block(); step != Step::event) return step;
  const std::size_t at = decoder_.offset();
  if (!decoder_.next(event_))
    return stop(block_at_ + block_header_bytes + at, "here should be an event, and is none");
  if (bounded_ && !allowance_.spend(header_, event_, source_->length()))
    return stop(
        block_at_ + block_header_bytes + at,
        fmt::format("with this event the log asks for work on {} frames, more than a log of {} bytes may",
                    allowance_.spent(), source_->length()));
  event_.number = number_++;
  several_ = several_ || event_.kind == pvmmu::TraceKind::domain_begins;
  event_.of_several = several_;
  if (--left_ == 0 && !decoder_.at_end())
    return stop(block_at_ + block_header_bytes + decoder_.offset(), "the block goes on past its last event");
  return Step::event;
}

}  // namespace pinfold::trace
