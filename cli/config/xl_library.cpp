#include "cli/config/xl_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "vmm/for_devices/find_symbol.hpp"

extern "C" {
#include <libxlutil.h>
}

namespace pinfold::cli {
namespace {

/// What the library calls the text in its messages: a name without a colon, so that the line can be told.
constexpr const char* report_name = "text";

/// The functions that are used. Linked in the usual way, the library and what it needs would be loaded at
/// every start of the program.
class Library {
 public:
  /// PINFOLD_XLUTIL is the name of the shared library that the headers belong to: structures differ between
  /// releases of Xen.
  static tl::expected<Library, std::string> load() {
    Library library;
    // Never closed: the process ends soon.
    void* handle = ::dlopen(PINFOLD_XLUTIL, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr)
      return tl::unexpected(
          fmt::format("the parser of xl.cfg can't be loaded (Debian has it in the package {}): {}",
                      PINFOLD_XLUTIL_PACKAGE, ::dlerror()));
    // Some of it is in libxenlight, which the library needs.
    const bool all = vmm::find_symbol(handle, "xlu_cfg_init", library.init) &&
                     vmm::find_symbol(handle, "xlu_cfg_readdata", library.read_data) &&
                     vmm::find_symbol(handle, "xlu_cfg_get_string", library.get_string) &&
                     vmm::find_symbol(handle, "xlu_cfg_get_list", library.get_list) &&
                     vmm::find_symbol(handle, "xlu_cfg_get_listitem2", library.get_list_item) &&
                     vmm::find_symbol(handle, "xlu_cfg_value_get_string", library.value_get_string) &&
                     vmm::find_symbol(handle, "xlu_disk_parse", library.disk_parse) &&
                     vmm::find_symbol(handle, "xlu_vif_parse_rate", library.vif_parse_rate) &&
                     vmm::find_symbol(handle, "libxl_device_disk_init", library.disk_init) &&
                     vmm::find_symbol(handle, "libxl_device_nic_init", library.nic_init) &&
                     vmm::find_symbol(handle, "libxl_disk_format_to_string", library.format_name) &&
                     vmm::find_symbol(handle, "libxl_disk_backend_to_string", library.backend_name);
    if (!all) return tl::unexpected(fmt::format("{}: {}", PINFOLD_XLUTIL, ::dlerror()));
    return library;
  }

  decltype(&::xlu_cfg_init) init = nullptr;
  decltype(&::xlu_cfg_readdata) read_data = nullptr;
  decltype(&::xlu_cfg_get_string) get_string = nullptr;
  decltype(&::xlu_cfg_get_list) get_list = nullptr;
  decltype(&::xlu_cfg_get_listitem2) get_list_item = nullptr;
  decltype(&::xlu_cfg_value_get_string) value_get_string = nullptr;
  decltype(&::xlu_disk_parse) disk_parse = nullptr;
  decltype(&::xlu_vif_parse_rate) vif_parse_rate = nullptr;
  decltype(&::libxl_device_disk_init) disk_init = nullptr;
  decltype(&::libxl_device_nic_init) nic_init = nullptr;
  decltype(&::libxl_disk_format_to_string) format_name = nullptr;
  decltype(&::libxl_disk_backend_to_string) backend_name = nullptr;
};

/// What the library reports, as text in memory.
class Report {
 public:
  Report() : file_(::open_memstream(&text_, &size_)) {}
  ~Report() {
    if (file_ != nullptr) std::fclose(file_);
    std::free(text_);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  [[nodiscard]] std::FILE* file() { return file_; }
  /// What was reported since the last call.
  std::string take() {
    std::fflush(file_);
    std::string taken(text_ + taken_, size_ - taken_);
    taken_ = size_;
    return taken;
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0, taken_ = 0;
  std::FILE* file_ = nullptr;
};

std::string text_of(const char* text) { return text == nullptr ? "" : text; }

/// The lines of a report. "text:3: config parsing error near `x': …" becomes line 3 and the rest.
std::vector<XlSyntaxError> syntax_errors(std::string_view report) {
  constexpr std::string_view about = "config parsing error ";
  std::vector<XlSyntaxError> errors;
  while (!report.empty()) {
    const auto end = std::min(report.find('\n'), report.size());
    std::string_view rest = report.substr(0, end);
    report.remove_prefix(std::min(end + 1, report.size()));
    XlSyntaxError error;
    if (rest.starts_with(report_name) && rest.size() > std::strlen(report_name) + 1) {
      rest.remove_prefix(std::strlen(report_name) + 1);
      const auto [number_end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), error.line);
      if (failed == std::errc()) rest.remove_prefix(static_cast<std::size_t>(number_end - rest.data()));
      while (rest.starts_with(':') || rest.starts_with(' ')) rest.remove_prefix(1);
    }
    if (rest.starts_with(about)) rest.remove_prefix(about.size());
    error.message = rest;
    errors.push_back(std::move(error));
  }
  return errors;
}

/// One text that was parsed.
class Parser {
 public:
  Parser(const Library& library, const XlRequest& request)
      : library_(library), request_(request), config_(library.init(report_.file(), report_name)) {}

  XlAnswer answer() {
    XlAnswer answer;
    const auto size = static_cast<int>(request_.text.size());
    if (config_ == nullptr || library_.read_data(config_, request_.text.data(), size) != 0) {
      answer.syntax_errors = syntax_errors(report_.take());
      if (answer.syntax_errors.empty()) answer.syntax_errors.push_back({0, "not accepted by libxlutil"});
      return answer;
    }
    for (const std::string& key : request_.keys)
      if (auto found = value(key.c_str())) answer.values.emplace(key, std::move(*found));
    const XlSpecs specs = request_.specs(answer.values);
    for (const std::string& spec : specs.disks) answer.disks.push_back(disk(spec));
    for (const std::string& text : specs.rates) answer.rate_errors.push_back(rate_error(text));
    return answer;
  }

 private:
  std::optional<XlValue> value(const char* key) {
    const char* text = nullptr;
    if (library_.get_string(config_, key, &text, 1) == 0) return text_of(text);
    XLU_ConfigList* list = nullptr;
    int size = 0;
    if (library_.get_list(config_, key, &list, &size, 1) != 0) return std::nullopt;
    XlList items;
    for (int i = 0; i < size; ++i) {
      char* item = nullptr;
      if (library_.value_get_string(config_, library_.get_list_item(list, i), &item, 1) == 0)
        items.emplace_back(text_of(item));
      else
        items.emplace_back();
    }
    return items;
  }

  tl::expected<XlDisk, std::string> disk(const std::string& spec) {
    libxl_device_disk parsed;
    library_.disk_init(&parsed);
    const char* text = spec.c_str();
    if (library_.disk_parse(config_, 1, &text, &parsed) != 0) return tl::unexpected(why_not(spec));
    XlDisk disk;
    disk.target = text_of(parsed.pdev_path);
    disk.vdev = text_of(parsed.vdev);
    disk.script = text_of(parsed.script);
    disk.backend = text_of(parsed.backend_domname);
    disk.format = text_of(library_.format_name(parsed.format));
    if (parsed.backend != LIBXL_DISK_BACKEND_UNKNOWN)
      disk.backend_type = text_of(library_.backend_name(parsed.backend));
    if (parsed.specification == LIBXL_DISK_SPECIFICATION_VIRTIO) disk.specification = "virtio";
    disk.read_only = parsed.readwrite == 0;
    disk.cdrom = parsed.is_cdrom != 0;
    disk.direct_io_safe = parsed.direct_io_safe;
    disk.colo = is_true(parsed.colo_enable);
    if (!is_default(parsed.discard_enable)) disk.discard = is_true(parsed.discard_enable);
    return disk;
  }

  // libxl.h, libxl_defbool: 0 is the default, above is true.
  static bool is_default(const libxl_defbool& value) { return value.val == 0; }
  static bool is_true(const libxl_defbool& value) { return value.val > 0; }

  /// The first thing that the library says about a disk, without the disk's text, which it repeats.
  std::string why_not(const std::string& spec) {
    auto errors = syntax_errors(report_.take());
    if (errors.empty()) return "not accepted by libxlutil";
    std::string message = std::move(errors.front().message);
    if (constexpr std::string_view about = "in disk specification: "; message.starts_with(about))
      message.erase(0, about.size());
    const std::string repeated = fmt::format(" in `{}'", spec);
    if (message.ends_with(repeated)) message.erase(message.size() - repeated.size());
    return message;
  }

  std::optional<std::string> rate_error(const std::string& rate) {
    libxl_device_nic nic;
    library_.nic_init(&nic);
    // It takes a number that does not fit from errno, which it does not clear.
    errno = 0;
    if (library_.vif_parse_rate(config_, rate.c_str(), &nic) == 0) return std::nullopt;
    const auto errors = syntax_errors(report_.take());
    std::string message = errors.empty() ? "not accepted by libxlutil" : errors.front().message;
    if (constexpr std::string_view about = "in vif: "; message.starts_with(about))
      message.erase(0, about.size());
    return message;
  }

  const Library& library_;
  const XlRequest& request_;
  Report report_;
  XLU_Config* config_;
};

}  // namespace

tl::expected<XlAnswer, std::string> ask_xl_library(const XlRequest& request) {
  const auto library = Library::load();
  if (!library) return tl::unexpected(library.error());
  return Parser(*library, request).answer();
}

}  // namespace pinfold::cli
