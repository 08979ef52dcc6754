#include "devices/block/raw_image.hpp"

#include <cstring>
#include <optional>

#include "devices/block/image_file.hpp"
#include "devices/block/image_lock.hpp"
#include "devices/block/inspect.hpp"
#include "devices/block/io_threads.hpp"
#include "devices/block/thread_queue.hpp"
#include "devices/block/uring_queue.hpp"

namespace pinfold::devices::block {
namespace {

class RawImage final : public Image {
 public:
  RawImage(vmm::Fd fd, const std::string& name, const Inspected& is)
      : file_(std::move(fd), name, is.geometry, is.alignment) {}

  void use_threads(unsigned count) { threads_.emplace(count); }
  /// Can a queue be made by io_uring? The error is an errno.
  [[nodiscard]] tl::expected<void, int> try_io_uring() {
    return UringQueue::make(file_, 1).map([](const auto&) {});
  }

  [[nodiscard]] Geometry geometry() const override { return file_.geometry(); }
  [[nodiscard]] tl::expected<std::uint64_t, std::string> grow(std::optional<std::uint64_t> bytes) override {
    return file_.grow(bytes);
  }

  [[nodiscard]] tl::expected<std::unique_ptr<TransferQueue>, std::string> make_queue(
      std::size_t depth) override {
    if (depth == 0 || depth > max_queue_depth)
      return tl::unexpected("disk " + file_.name() + ": no queue is " + std::to_string(depth) +
                            " transfers deep");
    if (threads_) {
      auto wake = WakeFd::make();
      if (!wake) return tl::unexpected("disk " + file_.name() + ": " + wake.error());
      return std::make_unique<ThreadQueue>(file_, *threads_, depth, std::move(*wake));
    }
    return UringQueue::make(file_, depth).map_error([&](int error) {
      return "disk " + file_.name() + ": no io_uring of " + std::to_string(depth) +
             " transfers: " + std::strerror(error) +
             "; raise the limits of open files and locked memory (ulimit)";
    });
  }

 private:
  ImageFile file_;
  std::optional<IoThreads> threads_;
};

std::string locked_by_another(int fd, const std::string& name, bool read_only) {
  const auto holder = lock_holder(fd);
  return "disk " + name + ": locked by another program (" +
         holder.value_or("of another user, container or machine, as it can't be found") + "): end it" +
         (read_only ? ", or let it open the image read-only, too"
                    : ", or attach the image read-only to both");
}

}  // namespace

tl::expected<std::vector<std::string>, std::string> lock_for_use(int fd, const std::string& name,
                                                                 const RawImageOptions& options) {
  std::vector<std::string> notices;
  switch (lock_image(fd, options.read_only, options.lock_patience)) {
    case LockResult::locked: break;
    case LockResult::held_by_another: return tl::unexpected(locked_by_another(fd, name, options.read_only));
    case LockResult::not_supported:
      notices.push_back("disk " + name +
                        ": its file system has no locks: make sure that no other program uses it");
      break;
  }
  return notices;
}

tl::expected<OpenImage, std::string> adopt_raw_image(vmm::Fd fd, const std::string& name,
                                                     const RawImageOptions& options) {
  auto is = inspect(fd.get(), name, options);
  if (!is) return tl::unexpected(is.error());
  OpenImage open;
  open.notices = std::move(is->notices);
  const auto locked = lock_for_use(fd.get(), name, options);
  if (!locked) return tl::unexpected(locked.error());
  open.notices.insert(open.notices.end(), locked->begin(), locked->end());
  auto image = std::make_unique<RawImage>(std::move(fd), name, *is);
  if (options.engine == Engine::threads) {
    image->use_threads(options.threads);
  } else if (const auto works = image->try_io_uring(); !works) {
    if (options.engine == Engine::io_uring)
      return tl::unexpected("disk " + name + ": no io_uring: " + std::strerror(works.error()));
    image->use_threads(options.threads);
  }
  open.image = std::move(image);
  return open;
}

}  // namespace pinfold::devices::block
