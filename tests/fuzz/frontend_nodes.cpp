// A guest that writes anything into the nodes of its device.
#include <optional>
#include <string>

#include "devices/xenbus/backend_device.hpp"
#include "fake_backend.hpp"
#include "input.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::xenbus;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;
using xenstore::Path;

constexpr const char* names[] = {"state",    "ring-ref", "event-channel", "queue-0/ring-ref",
                                 "protocol", "backend"};

/// Connects like a disk: it needs two numbers.
class Reader final : public FakeBackend {
 public:
  using FakeBackend::FakeBackend;
  [[nodiscard]] tl::expected<DeviceNodes, std::string> connect(const FrontendNodes& nodes) override {
    const auto ref = nodes.required_number("ring-ref");
    if (!ref) return tl::unexpected(ref.error());
    const auto port = nodes.below("queue-0").number("ring-ref");
    if (!port) return tl::unexpected(port.error());
    (void)nodes.text("protocol");
    return FakeBackend::connect(nodes);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  xenstore::Store store;
  const auto guest = store.add_client(DomId(1), {});
  FakeBackend::Script script;
  BackendDevice device(store, {"vbd", DomId(1), 51712}, std::make_unique<Reader>(script));
  promise(device.publish().has_value(), "the nodes of a device are written");
  const Path front = device.name().frontend_folder();
  while (!input.empty()) {
    const auto what = input.take<std::uint8_t>();
    const auto path = Path::parse(front.text() + "/" + names[what / 8 % std::size(names)], DomId(1));
    const auto text = input.take_bytes(what / 64 * std::size_t{3} + 1);
    if (what % 8 == 0) (void)store.remove(guest, xenstore::TransactionId(0), *path);
    if (what % 8 == 1) script.lingers = !script.lingers;
    if (what % 8 == 2) script.failure = script.failure ? std::nullopt : std::optional<std::string>("broken");
    if (what % 8 > 2)
      (void)store.write(guest, xenstore::TransactionId(0), *path, std::string(text.begin(), text.end()));
    if (!script.lingers && device.state() != BusState::connected) script.connected = false;
    device.look();
    promise(device.state() != BusState::init_wait || !script.connected, "what is offered is not connected");
    promise(device.state() != BusState::connected || script.connected, "what is connected is");
  }
  script = {};
  for (const char* state : {"1", "3"}) {
    promise(store.write(front.child("state"), state).has_value(), "the host writes a state");
    promise(store.write(front.child("ring-ref"), "8").has_value(), "the host writes a node");
    (void)store.remove(front.child("queue-0"));
    device.look();
  }
  promise(device.state() == BusState::connected, "the next frontend connects");
  return 0;
}
