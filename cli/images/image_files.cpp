#include "cli/images/image_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "loader/load_error.hpp"

namespace pinfold::cli::images {
namespace {

namespace fs = std::filesystem;

/// More files than any disk has, and few enough to be looked at in no time.
constexpr std::size_t most_files = 256;

/// An open file, under another description.
vmm::Fd reopened(const vmm::Fd& file, int flags) {
  return vmm::Fd(::open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), flags | O_CLOEXEC));
}

fs::path real_path(const fs::path& path) {
  std::error_code error;
  auto found = fs::canonical(path, error);
  return error ? path.lexically_normal() : found;
}

/// Where the open file really is.
fs::path place_of(const vmm::Fd& file) {
  std::error_code error;
  return fs::read_symlink(fmt::format("/proc/self/fd/{}", file.get()), error);
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const auto [in_folder, in_path] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return in_folder == folder.end() && in_path != path.end();
}

}  // namespace

tl::expected<std::string, std::string> file_named(const std::string& image, const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos) return tl::unexpected(std::string("it is empty"));
  // QEMU takes such a name for a protocol, or for a description in JSON.
  const auto end = name.find_first_of(":/");
  if (end != std::string::npos && name[end] == ':')
    return tl::unexpected(std::string("only files can be used"));
  return name.front() == '/' ? name : image.substr(0, image.rfind('/') + 1) + name;
}

ImageFiles::ImageFiles(const fs::path& image, const std::vector<std::string>& named)
    : folder_(real_path(fs::absolute(image)).parent_path()) {
  for (const std::string& name : named) {
    if (name.ends_with('/'))
      folders_.push_back(real_path(fs::absolute(name.substr(0, name.find_last_not_of('/') + 1))));
    else
      named_.push_back(real_path(fs::absolute(name)));
  }
}

bool ImageFiles::may_use(const vmm::Fd& file) const {
  const fs::path place = place_of(file);
  const auto holds = [&place](const fs::path& folder) { return is_inside(place, folder); };
  return holds(folder_) || std::any_of(folders_.begin(), folders_.end(), holds) ||
         std::find(named_.begin(), named_.end(), place) != named_.end();
}

tl::expected<const ImageFile*, std::string> ImageFiles::add(std::string name, bool writable) {
  if (files_.size() >= most_files) return tl::unexpected(std::string("it consists of too many files"));
  auto added = std::make_unique<ImageFile>();
  // A pipe without a writer would have us wait.
  added->file =
      vmm::Fd(::open(name.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat is {};
  if (!added->file.open() || ::fstat(added->file.get(), &is) != 0)
    return tl::unexpected(std::string(std::strerror(errno)));
  if (!S_ISREG(is.st_mode) && !S_ISBLK(is.st_mode))
    return tl::unexpected(std::string("it is neither a file nor a block device"));
  added->name = std::move(name);
  added->writable = writable;
  added->is_device = S_ISBLK(is.st_mode);
  files_.push_back(std::move(added));
  return files_.back().get();
}

tl::expected<const ImageFile*, std::string> ImageFiles::add_image(const fs::path& image, bool writable) {
  return add(fs::absolute(image).string(), writable);
}

tl::expected<const ImageFile*, std::string> ImageFiles::add_named_by(const std::string& image,
                                                                     const std::string& name, bool writable) {
  const std::string shown = loader::printable(name, 300);
  const auto failed = [&](const std::string& why) {
    return tl::unexpected(fmt::format("{} is based on {}: {}", image, shown, why));
  };
  const auto path = file_named(image, name);
  if (!path) return failed(path.error());
  if (const ImageFile* known = find(*path)) return known;
  // Only looked at by its name, until it is known to be one that may be used.
  const vmm::Fd place(::open(path->c_str(), O_PATH | O_CLOEXEC));
  if (!place.open()) return failed(std::strerror(errno));
  if (!may_use(place))
    return failed(
        fmt::format("it is not in the folder of the disk's image; if this is right, "
                    "--allow-image {} permits it, or `allow_images` in the configuration file",
                    shown));
  auto added = add(*path, writable);
  if (!added) return failed(added.error());
  // Somebody may have put another file there meanwhile.
  if (!may_use((*added)->file)) {
    files_.pop_back();
    return failed("it changes its place");
  }
  return added;
}

const ImageFile* ImageFiles::find(const std::string& name) const {
  const auto found =
      std::find_if(files_.begin(), files_.end(), [&](const auto& known) { return known->name == name; });
  return found == files_.end() ? nullptr : found->get();
}

const ImageFile* ImageFiles::same_as(const ImageFile& file) const {
  struct stat is {};
  if (::fstat(file.file.get(), &is) != 0) return nullptr;
  for (const auto& known : files_) {
    struct stat other {};
    if (known.get() != &file && ::fstat(known->file.get(), &other) == 0 && other.st_dev == is.st_dev &&
        other.st_ino == is.st_ino)
      return known.get();
  }
  return nullptr;
}

tl::expected<vmm::Fd, int> ImageFiles::open(const std::string& name, int flags) const {
  if (name == "/dev/null") return vmm::Fd(::open("/dev/null", (flags & O_ACCMODE) | O_CLOEXEC));
  const ImageFile* file = find(name);
  if (file == nullptr) return tl::unexpected(ENOENT);
  if ((flags & (O_CREAT | O_TRUNC)) != 0 || ((flags & O_ACCMODE) != O_RDONLY && !file->writable))
    return tl::unexpected(EACCES);
  vmm::Fd opened = reopened(file->file, flags & (O_ACCMODE | O_DIRECT | O_NONBLOCK | O_SYNC | O_DSYNC));
  if (!opened.open()) return tl::unexpected(errno);
  return opened;
}

}  // namespace pinfold::cli::images
