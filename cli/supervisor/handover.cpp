#include "cli/supervisor/handover.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <tuple>
#include <type_traits>

namespace pinfold::cli {
namespace {

using Json = nlohmann::json;

// The fields of each struct. A field that is missing here does not compile: a structured binding names all.

template <class T, class Of>
concept Is = std::is_same_v<std::remove_const_t<T>, Of>;

auto fields(Is<DiskConfig> auto& disk) {
  auto& [target, format, vdev, read_only, cdrom, discard, direct_io, script, backend] = disk;
  return std::tie(target, format, vdev, read_only, cdrom, discard, direct_io, script, backend);
}

auto fields(Is<VifConfig> auto& vif) {
  auto& [mac, bridge, script, interface_name, gateway_device, model, type, backend, addresses, rate, mtu, net,
         place, tcp_ports, udp_ports, capture, number] = vif;
  return std::tie(mac, bridge, script, interface_name, gateway_device, model, type, backend, addresses, rate,
                  mtu, net, place, tcp_ports, udp_ports, capture, number);
}

auto fields(Is<CpuLists> auto& cpus) {
  auto& [of_all, of_each] = cpus;
  return std::tie(of_all, of_each);
}

auto fields(Is<GuestConfig> auto& guest) {
  auto& [kernel, initrd, command_line, bootloader, bootloader_args, memory, max_memory, vcpus, max_vcpus,
         cpus, disks, allowed_images, vifs, localtime, rtc_offset, name, uuid, on_poweroff, on_reboot,
         on_crash, on_watchdog, max_grant_frames, max_maptrack_frames, driver_domain, early_console, quirks] =
      guest;
  return std::tie(kernel, initrd, command_line, bootloader, bootloader_args, memory, max_memory, vcpus,
                  max_vcpus, cpus, disks, allowed_images, vifs, localtime, rtc_offset, name, uuid,
                  on_poweroff, on_reboot, on_crash, on_watchdog, max_grant_frames, max_maptrack_frames,
                  driver_domain, early_console, quirks);
}

auto fields(Is<TraceOptions> auto& trace) {
  auto& [to, filters] = trace;
  return std::tie(to, filters);
}

auto fields(Is<WatchOptions> auto& watch) {
  auto& [stats, audit, audit_interval, trace, system_map, vmlinux, gdb] = watch;
  return std::tie(stats, audit, audit_interval, trace, system_map, vmlinux, gdb);
}

auto fields(Is<HostOptions> auto& host) {
  auto& [kvm_device, write_protection, plain_gate, resident] = host;
  return std::tie(kvm_device, write_protection, plain_gate, resident);
}

auto fields(Is<ConsoleOptions> auto& console) {
  auto& [place, log, log_bytes, named, old_logs] = console;
  return std::tie(place, log, log_bytes, named, old_logs);
}

auto fields(Is<sandbox::User> auto& user) {
  auto& [id, group] = user;
  return std::tie(id, group);
}

auto fields(Is<SandboxOptions> auto& sandbox) {
  auto& [mode, user] = sandbox;
  return std::tie(mode, user);
}

auto fields(Is<RunOptions> auto& options) {
  auto& [guest, watch, host, console, sandbox, paused] = options;
  return std::tie(guest, watch, host, console, sandbox, paused);
}

// The values: numbers, enumerations and truth values; texts, which are any bytes; optional ones and lists as
// arrays; structs as arrays of their fields.

template <class T>
concept Number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

Json encode(Number auto value) {
  if constexpr (std::is_enum_v<decltype(value)>)
    return static_cast<std::underlying_type_t<decltype(value)>>(value);
  else
    return value;
}
Json encode(const std::string& text) { return text; }
Json encode(const std::filesystem::path& path) { return path.native(); }
template <class T>
Json encode(const std::optional<T>& value);
template <class T>
Json encode(const std::vector<T>& list);
template <class T>
requires requires(const T& value) { fields(value); }
Json encode(const T& value) {
  Json all = Json::array();
  std::apply([&](const auto&... field) { (all.push_back(encode(field)), ...); }, fields(value));
  return all;
}
template <class T>
Json encode(const std::optional<T>& value) {
  Json all = Json::array();
  if (value) all.push_back(encode(*value));
  return all;
}
template <class T>
Json encode(const std::vector<T>& list) {
  Json all = Json::array();
  for (const T& item : list) all.push_back(encode(item));
  return all;
}

void decode(const Json& json, Number auto& value) {
  using T = std::remove_reference_t<decltype(value)>;
  if constexpr (std::is_enum_v<T>)
    value = static_cast<T>(json.get<std::underlying_type_t<T>>());
  else
    value = json.get<T>();
}
void decode(const Json& json, std::string& text) { text = json.get<std::string>(); }
void decode(const Json& json, std::filesystem::path& path) { path = json.get<std::string>(); }
template <class T>
void decode(const Json& json, std::optional<T>& value);
template <class T>
void decode(const Json& json, std::vector<T>& list);
template <class T>
requires requires(T& value) { fields(value); }
void decode(const Json& json, T& value) {
  std::size_t next = 0;
  std::apply([&](auto&... field) { (decode(json.at(next++), field), ...); }, fields(value));
  if (next != json.size()) throw std::out_of_range("more fields than there are");
}
template <class T>
void decode(const Json& json, std::optional<T>& value) {
  if (!json.empty()) decode(json.at(0), value.emplace());
}
template <class T>
void decode(const Json& json, std::vector<T>& list) {
  for (const Json& item : json.get_ref<const Json::array_t&>()) decode(item, list.emplace_back());
}

}  // namespace

std::string encode_options(const RunOptions& options) {
  std::string bytes;
  Json::to_cbor(encode(options), bytes);
  return bytes;
}

tl::expected<RunOptions, std::string> decode_options(std::string_view bytes) {
  try {
    RunOptions options;
    decode(Json::from_cbor(bytes), options);
    return options;
  } catch (const std::exception& error) {
    return tl::unexpected(std::string(error.what()));
  }
}

vmm::Fd file_with(std::string_view bytes) {
  vmm::Fd file(::memfd_create("pinfold-options", MFD_CLOEXEC));
  if (!file.open() ||
      ::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return {};
  return file;
}

std::string bytes_of(const vmm::Fd& file) {
  std::string bytes;
  std::array<char, 4096> piece{};
  ssize_t n = 0;
  while ((n = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(bytes.size()))) > 0)
    bytes.append(piece.data(), static_cast<std::size_t>(n));
  return bytes;
}

}  // namespace pinfold::cli
