#include "cli/config/load_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "cli/bootloader/pygrub_arguments.hpp"
#include "cli/config/device_specs.hpp"
#include "cli/config/not_yet.hpp"
#include "cli/config/xl_child.hpp"
#include "cli/config/xl_guest.hpp"
#include "cli/config/xl_reader.hpp"
#include "cli/config/xl_syntax.hpp"
#include "cli/config/xl_text.hpp"

namespace pinfold::cli {
namespace {

/// In the order of the file; what is about no line comes last.
void sort_by_line(Remarks& remarks) {
  std::stable_sort(remarks.begin(), remarks.end(), [](const Remark& a, const Remark& b) {
    return (a.line == 0 ? ~0U : a.line) < (b.line == 0 ? ~0U : b.line);
  });
}

/// A configuration on its way from the file and the options to a guest.
class Loader {
 public:
  Loader(const std::filesystem::path& file, const GuestFlags& flags)
      : file_(file), flags_(flags), reader_(file.string(), {}, {}) {}

  tl::expected<LoadedConfig, Remarks> load() {
    if (auto read = read_file(); !read) return tl::unexpected(Remarks{std::move(read.error())});
    auto answer = ask();
    if (!answer) return tl::unexpected(std::move(answer.error()));
    GuestConfig guest = file_.empty() ? GuestConfig{} : guest_of(reader_);
    if (!file_.empty()) judge_keys(reader_, flags_.strict);
    apply(guest);
    if (!add_devices(specs_, *answer, guest, disk_places_, reader_.remarks()))
      return tl::unexpected(
          Remarks{{Severity::error, file_.string(), 0, "libxlutil answered to another question"}});
    check(guest);
    sort_by_line(reader_.remarks());
    if (has_errors(reader_.remarks())) return tl::unexpected(std::move(reader_.remarks()));
    if (guest.uuid) guest.uuid = vmm::Uuid::parse(*guest.uuid)->text();
    give_addresses(guest);
    Remarks later = reasons_against_a_start(guest);
    return LoadedConfig{std::move(guest), std::move(reader_.remarks()), std::move(later)};
  }

 private:
  tl::expected<void, Remark> read_file() {
    if (file_.empty()) return {};
    auto text = read_config_text(file_);
    if (!text) return tl::unexpected(std::move(text.error()));
    request_.text = std::move(*text);
    keys_ = scan_keys(request_.text);
    if (keys_.size() > most_keys)
      return tl::unexpected(Remark{Severity::error, file_.string(), keys_[most_keys].line,
                                   fmt::format("more than {} keys", most_keys)});
    for (const XlKey& key : keys_) request_.keys.push_back(key.name);
    return {};
  }

  /// The devices of the file, as `values` has it, and of the options.
  DeviceSpecs specs_of(XlReader& reader) const {
    DeviceSpecs specs;
    const std::string source = file_.string();
    for (XlItem& item : reader.list("disk"))
      specs.add_disk({source, fmt::format("disk[{}]", item.index), item.line, false}, std::move(item.text));
    for (const XlItem& item : reader.list("vif"))
      specs.add_vif({source, fmt::format("vif[{}]", item.index), item.line, false}, item.text);
    for (const std::string& text : flags_.disks) specs.add_disk({"--disk", "", 0, true}, text);
    for (const std::string& text : flags_.vifs) specs.add_vif({"--vif", "", 0, true}, text);
    return specs;
  }

  tl::expected<XlAnswer, Remarks> ask() {
    // Without a text of xl's syntax, the library is not needed.
    if (file_.empty() && flags_.disks.empty() && flags_.vifs.empty()) return XlAnswer{};
    request_.specs = [this](const XlValues& values) {
      XlReader reader(file_.string(), keys_, values);
      return specs_of(reader).for_library();
    };
    auto answer = ask_xl_child(request_);
    if (!answer)
      return tl::unexpected(Remarks{{Severity::error, file_.string(), 0, std::move(answer.error())}});
    if (!answer->syntax_errors.empty())
      return tl::unexpected(syntax_remarks(answer->syntax_errors, file_.string()));
    reader_ = XlReader(file_.string(), keys_, answer->values);
    specs_ = specs_of(reader_);
    for (const XlKey& key : keys_)
      if (answer->values.count(key.name) == 0) reader_.error(key.name, "libxlutil does not find this key");
    return std::move(*answer);
  }

  template <class T, class U>
  void override_by(const char* key, const char* flag, const std::optional<T>& value, U& to) {
    if (!value) return;
    to = *value;
    overridden_.emplace_back(key, flag);
  }

  std::optional<CpuLists> cpus_of_flags() const {
    if (flags_.cpus.empty()) return std::nullopt;
    if (flags_.cpus.size() == 1) return CpuLists{flags_.cpus[0], {}};
    return CpuLists{std::nullopt, flags_.cpus};
  }

  void apply(GuestConfig& guest) {
    override_by("kernel", "--kernel", flags_.kernel, guest.kernel);
    override_by("ramdisk", "--initrd", flags_.initrd, guest.initrd);
    override_by("cmdline", "--append", flags_.command_line, guest.command_line);
    override_by("memory", "--memory", flags_.memory_bytes, guest.memory_bytes);
    override_by("maxmem", "--maxmem", flags_.max_memory_bytes, guest.max_memory_bytes);
    override_by("vcpus", "--vcpus", flags_.vcpus, guest.vcpus);
    override_by("maxvcpus", "--maxvcpus", flags_.max_vcpus, guest.max_vcpus);
    override_by("cpus", "--cpus", cpus_of_flags(), guest.cpus);
    override_by("name", "--name", flags_.name, guest.name);
    override_by("uuid", "--uuid", flags_.uuid, guest.uuid);
    override_by("on_poweroff", "--on-poweroff", flags_.on_poweroff, guest.on_poweroff);
    override_by("on_reboot", "--on-reboot", flags_.on_reboot, guest.on_reboot);
    override_by("on_crash", "--on-crash", flags_.on_crash, guest.on_crash);
    override_by("on_watchdog", "--on-watchdog", flags_.on_watchdog, guest.on_watchdog);
    override_by("localtime", "--localtime", flags_.localtime, guest.localtime);
    override_by("rtc_timeoffset", "--rtc-timeoffset", flags_.rtc_offset_seconds, guest.rtc_offset_seconds);
    guest.early_console = flags_.early_console;
    guest.quirks = !flags_.no_quirks;
    override_by("bootloader", "--bootloader", flags_.bootloader, guest.bootloader);
    guest.bootloader_args.insert(guest.bootloader_args.end(), flags_.bootloader_args.begin(),
                                 flags_.bootloader_args.end());
    guest.allowed_images.insert(guest.allowed_images.end(), flags_.allowed_images.begin(),
                                flags_.allowed_images.end());
    // The user has found the kernel.
    if (flags_.kernel && !flags_.bootloader) guest.bootloader.clear();
  }

  /// Where the value of a key comes from.
  Remark remark(Severity severity, const std::string& key, const std::string& message) const {
    for (const auto& [known, flag] : overridden_)
      if (known == key) return {severity, flag, 0, message};
    return reader_.remark(severity, key, fmt::format("{}: {}", key, message));
  }

  void check_bootloader(const GuestConfig& guest) {
    if (guest.bootloader.empty()) return;
    const auto add = [this](Severity severity, const char* key, const std::string& message) {
      reader_.add(remark(severity, key, message));
    };
    if (!bootloader::is_pygrub(guest.bootloader)) {
      add(Severity::error, "bootloader",
          guest.bootloader.ends_with("xenpvnetboot")
              ? "a kernel can't be fetched from the network (xenpvnetboot): give it as kernel= and ramdisk="
              : fmt::format("{}: the only boot loader is pygrub", guest.bootloader));
      return;
    }
    const auto arguments = bootloader::parse_pygrub_arguments(guest.bootloader_args);
    for (const std::string& error : arguments.errors) add(Severity::error, "bootloader_args", error);
    for (const std::string& notice : arguments.notices) add(Severity::notice, "bootloader_args", notice);
  }

  void check(const GuestConfig& guest) {
    check_bootloader(guest);
    if (guest.kernel.empty() && guest.bootloader.empty())
      reader_.add({Severity::error, file_.string(), 0, "there is no kernel"});
    if (!file_.empty() && guest.name.empty())
      reader_.add({Severity::error, file_.string(), 0, "there is no name"});
    if (const auto error = error_in(guest))
      reader_.add(remark(Severity::error, key_of(error->field), error->message));
  }

  Remarks reasons_against_a_start(const GuestConfig& guest) const {
    Remarks reasons;
    for (const auto& [key, index, message] : not_yet(guest))
      reasons.push_back(key == "disk" ? disk_places_[index].remark(Severity::error, message)
                                      : remark(Severity::error, key, message));
    return reasons;
  }

  std::filesystem::path file_;
  const GuestFlags& flags_;
  XlRequest request_;
  std::vector<XlKey> keys_;
  XlReader reader_;
  DeviceSpecs specs_;
  std::vector<DevicePlace> disk_places_;
  std::vector<std::pair<std::string, std::string>> overridden_;  ///< Keys, and the options that win.
};

}  // namespace

tl::expected<LoadedConfig, Remarks> load_config(const std::filesystem::path& file, const GuestFlags& flags) {
  return Loader(file, flags).load();
}

}  // namespace pinfold::cli
