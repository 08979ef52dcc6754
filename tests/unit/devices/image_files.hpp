// Images, memory and queues for the tests of devices/block.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/uio.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "devices/block/raw_image.hpp"

namespace pinfold::devices::block {

/// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "pinfold-images-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// A sparse file.
  [[nodiscard]] std::filesystem::path image(std::uint64_t bytes, const std::string& name = "disk.img") const {
    std::ofstream(path_ / name).flush();
    std::filesystem::resize_file(path_ / name, bytes);
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Memory at an address of a chosen alignment, and pieces of it.
class Memory {
 public:
  explicit Memory(std::size_t bytes, std::size_t misaligned_by = 0) : bytes_(bytes) {
    void* const start = std::aligned_alloc(4096, (bytes + misaligned_by + 4095) / 4096 * 4096);
    memory_.reset(static_cast<char*>(start));
    data_ = memory_.get() + misaligned_by;
    std::memset(data_, 0, bytes);
  }
  void fill(unsigned seed) {
    for (std::size_t i = 0; i < bytes_; ++i) data_[i] = static_cast<char>((seed + i * 7 + i / 512) % 251);
  }
  [[nodiscard]] char* data() { return data_; }
  [[nodiscard]] std::string text() const { return {data_, bytes_}; }
  /// All of it, in pieces of at most so many bytes.
  [[nodiscard]] std::vector<iovec> pieces(std::size_t each) {
    std::vector<iovec> list;
    for (std::size_t at = 0; at < bytes_; at += each)
      list.push_back({data_ + at, std::min(each, bytes_ - at)});
    return list;
  }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
  char* data_;
  std::size_t bytes_;
};

inline Transfer transfer(Operation operation, std::uint64_t offset, const std::vector<iovec>& pieces,
                         std::uint64_t token = 1) {
  std::uint64_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return {operation, offset, bytes, pieces, token};
}

/// Waits until the queue has nothing on its way; the errors by token.
inline std::map<std::uint64_t, int> wait_for_all(TransferQueue& queue) {
  std::map<std::uint64_t, int> errors;
  queue.start();
  while (queue.on_the_way() > 0) {
    pollfd waits = {queue.descriptor(), POLLIN, 0};
    if (::poll(&waits, 1, 20000) != 1) {
      ADD_FAILURE() << "nothing to collect, and " << queue.on_the_way() << " on the way";
      break;
    }
    queue.collect([&](const Completion& done) { errors[done.token] = done.error; });
  }
  return errors;
}

/// One transfer, to its end; its error.
inline int run(TransferQueue& queue, const Transfer& transfer) {
  if (!queue.submit(transfer)) return -1;
  return wait_for_all(queue)[transfer.token];
}
inline int run(TransferQueue& queue, Operation operation, std::uint64_t offset,
               const std::vector<iovec>& pieces) {
  return run(queue, transfer(operation, offset, pieces));
}

}  // namespace pinfold::devices::block
