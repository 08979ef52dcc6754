// A backend that does what a test tells it.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "devices/xenbus/backend.hpp"

namespace pinfold::devices::xenbus {

class FakeBackend : public Backend {
 public:
  struct Script {
    bool started = false, connected = false;
    bool lingers = false;  ///< Something of a connection is left until this is false.
    int connects = 0;
    std::string refusal;
    std::optional<std::string> failure;
    bool hushed = true;        ///< hush() is done.
    bool keeps_ports = false;  ///< The frontend does when it is Closed.
    int news = 0;              ///< Another number is news.
  };
  explicit FakeBackend(Script& script) : script_(script) {}
  [[nodiscard]] DeviceNodes backend_nodes() const override { return {{"mode", "w"}}; }
  [[nodiscard]] DeviceNodes frontend_nodes() const override { return {{"virtual-device", "51712"}}; }
  void start() override { script_.started = true; }
  [[nodiscard]] DeviceNodes features() const override { return {{"feature-x", "1"}}; }
  /// Ends the program if there is a connection.
  [[nodiscard]] tl::expected<DeviceNodes, std::string> connect(const FrontendNodes&) override {
    if (script_.connected) std::abort();
    ++script_.connects;
    if (!script_.refusal.empty()) return tl::unexpected(script_.refusal);
    script_.connected = true;
    return DeviceNodes{{"sectors", "8"}};
  }
  [[nodiscard]] DeviceNodes news() override {
    if (std::exchange(told_, script_.news) == script_.news) return {};
    return {{"news", std::to_string(told_)}};
  }
  [[nodiscard]] bool hush() override { return script_.hushed; }
  [[nodiscard]] bool see_off() override { return !script_.keeps_ports; }
  void disconnect() override {
    if (!script_.lingers) script_.connected = false;
  }
  [[nodiscard]] bool is_disconnected() override { return !script_.connected; }
  [[nodiscard]] std::optional<std::string> failure() override { return script_.failure; }
  [[nodiscard]] DeviceCounts counts() const override { return {}; }

 private:
  Script& script_;
  int told_ = 0;
};

}  // namespace pinfold::devices::xenbus
