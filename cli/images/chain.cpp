#include "cli/images/chain.hpp"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "cli/images/qemu_words.hpp"
#include "cli/tools/tool.hpp"
#include "loader/load_error.hpp"

namespace pinfold::cli::images {
namespace {

using Json = nlohmann::json;
using Failed = tl::unexpected<std::string>;
using tools::ConfinedTool;

constexpr unsigned deepest_chain = 32, most_seconds = 10;
constexpr std::size_t longest_info = 1 << 20;

constexpr std::array drivers{std::pair(DiskFormat::raw, "raw"),   std::pair(DiskFormat::qcow, "qcow"),
                             std::pair(DiskFormat::vhd, "vpc"),   std::pair(DiskFormat::qcow2, "qcow2"),
                             std::pair(DiskFormat::vhdx, "vhdx"), std::pair(DiskFormat::vmdk, "vmdk"),
                             std::pair(DiskFormat::qed, "qed")};

std::string text_in(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// Asks qemu-img about one image. Extents of vmdk images are opened for it on the way, if they may be.
class Inquiry {
 public:
  Inquiry(ImageFiles& files, const std::optional<sandbox::User>& user) : files_(files), user_(user) {}

  tl::expected<ImageFacts, std::string> ask(const ImageFile& image, DiskFormat format) {
    refusal_.clear();
    tools::ToolPlan plan;
    plan.name = "qemu-img";
    plan.words = {"info", "--output=json", "--image-opts", image_options(image, format)};
    plan.calls = tools::ToolCalls::serves;
    plan.bounds = {longest_info, most_seconds, qemu_memory};
    plan.user = user_;
    plan.opener = [this, &image](const std::string& name, int flags) { return open(image, name, flags); };
    auto tool = ConfinedTool::start(std::move(plan));
    if (!tool) return Failed(why_no_qemu(tool.error()));
    const auto served = tool->serve(-1, ConfinedTool::Clock::now() + std::chrono::seconds(most_seconds));
    if (!served) return Failed(why_no_qemu({false, served.error()}));
    if (*served == ConfinedTool::Served::late)
      return Failed(fmt::format("qemu-img takes longer than {} seconds to look at it", most_seconds));
    const int status = tool->wait(1000).value_or(SIGKILL);
    if (!refusal_.empty()) return Failed(refusal_);
    if (WIFSIGNALED(status)) return Failed(fmt::format("qemu-img was ended by signal {}", WTERMSIG(status)));
    if (WEXITSTATUS(status) != 0) return Failed(complaint_of(*tool, "qemu-img"));
    return parse_image_info(tools::text_of(tool->output(), longest_info));
  }

 private:
  tl::expected<vmm::Fd, int> open(const ImageFile& image, const std::string& name, int flags) {
    auto opened = files_.open(name, flags);
    if (opened || opened.error() != ENOENT || is_of_system(name)) return opened;
    const auto added = files_.add_named_by(image.name, name, image.writable);
    if (!added) {
      if (refusal_.empty()) refusal_ = added.error();
      return tl::unexpected(EACCES);
    }
    return files_.open(name, flags);
  }

  ImageFiles& files_;
  const std::optional<sandbox::User>& user_;
  std::string refusal_;
};

/// The format of what an image is based on, as the image says.
tl::expected<DiskFormat, std::string> backing_format(const ImageFile& image, const ImageFacts& facts) {
  const auto format = format_of_driver(facts.backing_format);
  if (format) return *format;
  if (facts.backing_format.empty())
    return Failed(
        fmt::format("{} does not say of what format {} is, on which it is based; `qemu-img rebase -u -F "
                    "FORMAT -b {} {}` writes it down",
                    image.name, loader::printable(facts.backing, 300), loader::printable(facts.backing, 300),
                    image.name));
  return Failed(fmt::format("{} is based on an image of format {}, which can't be used", image.name,
                            loader::printable(facts.backing_format, 40)));
}

}  // namespace

const char* driver_of(DiskFormat format) {
  for (const auto& [known, name] : drivers)
    if (known == format) return name;
  return "";
}

std::optional<DiskFormat> format_of_driver(std::string_view driver) {
  for (const auto& [format, name] : drivers)
    if (name == driver) return format;
  return std::nullopt;
}

std::string image_options(const ImageFile& file, DiskFormat format) {
  std::string name;
  for (const char c : file.name) name += c == ',' ? ",," : std::string(1, c);
  return fmt::format("driver={},file.driver={},file.filename={}", driver_of(format),
                     file.is_device ? "host_device" : "file", name);
}

tl::expected<ImageFacts, std::string> parse_image_info(std::string_view output) {
  const Json info = Json::parse(output, nullptr, false);
  if (!info.is_object()) return Failed("qemu-img says nothing of it that can be understood");
  ImageFacts facts;
  facts.backing = text_in(info, "backing-filename");
  facts.backing_format = text_in(info, "backing-filename-format");
  if (const auto specific = info.find("format-specific"); specific != info.end() && specific->is_object())
    if (const auto data = specific->find("data"); data != specific->end() && data->is_object())
      facts.data_file = text_in(*data, "data-file");
  return facts;
}

tl::expected<void, std::string> find_chain(ImageFiles& files, const DiskConfig& disk,
                                           const std::optional<sandbox::User>& user) {
  auto added = files.add_image(disk.target, !disk.read_only);
  if (!added) return Failed(added.error());
  const ImageFile* image = *added;
  std::vector<const ImageFile*> chain{image};
  DiskFormat format = disk.format;
  for (unsigned depth = 0;; ++depth) {
    if (depth == deepest_chain)
      return Failed(fmt::format("it is based on more than {} images", deepest_chain));
    const auto facts = Inquiry(files, user).ask(*image, format);
    if (!facts) return Failed(facts.error());
    if (!facts->data_file.empty())
      if (auto data = files.add_named_by(image->name, facts->data_file, image->writable); !data)
        return Failed(data.error());
    if (facts->backing.empty()) return {};
    const auto next_format = backing_format(*image, *facts);
    if (!next_format) return Failed(next_format.error());
    auto next = files.add_named_by(image->name, facts->backing, false);
    if (!next) return Failed(next.error());
    const bool is_known = std::find(chain.begin(), chain.end(), *next) != chain.end();
    if (is_known || files.same_as(**next) != nullptr)
      return Failed(fmt::format("{} is based on {}, which is a part of the same disk already", image->name,
                                (*next)->name));
    image = *next;
    chain.push_back(image);
    format = *next_format;
  }
}

}  // namespace pinfold::cli::images
