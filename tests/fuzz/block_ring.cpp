// A block frontend that writes anything into its ring, its grant table and its pages, at any time.
#include <algorithm>

#include "granted_entries.hpp"
#include "input.hpp"
#include "queue_fixture.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::block;
using pinfold::fuzz::GrantedEntries;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

class World : QueueFixture {
 public:
  explicit World(Input input) : QueueFixture(64), input_(input) {
    guest.grant(ring_ref, ring_frame);
    connect();
  }

  void run() {
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    image.stuck = false;
    for (int i = 0; i < 4; ++i) serve();
    promise(queue->is_idle(), "a disk that works is done with everything");
    queue.reset();
    grants_.expect_nothing_left();
  }

 private:
  void step(std::uint8_t what) {
    switch (what % 8) {
      case 0: return serve();
      case 1: return put(64 + input_.take<std::uint8_t>() % 32 * 112, 112);
      case 2:
        return guest.frame(ring_frame).store<std::uint32_t>(0, produced_ += input_.take<std::uint8_t>() % 34);
      case 3: return guest.frame(ring_frame).store(0, produced_ = input_.take<std::uint32_t>());
      case 4: return grants_.write(input_, [](std::uint32_t ref) { return ref == ring_ref; });
      case 5: {  // a segment in a page that is granted
        const std::uint64_t frame = 2 + input_.take<std::uint8_t>() % 4;
        const std::uint32_t place = input_.take<std::uint16_t>() % 512U * 8U;
        const auto bytes = input_.take_bytes(8);
        return guest.frame(frame).copy_in(place, std::as_bytes(bytes));
      }
      case 6: image.stuck = !image.stuck; return;
      default: image.error = input_.take<std::uint8_t>() % 2 == 0 ? 0 : EIO; return;
    }
  }
  void put(std::size_t offset, std::size_t size) {
    guest.frame(ring_frame).copy_in(offset, std::as_bytes(input_.take_bytes(size)));
  }
  void serve() {
    now += Pacing::look_after;
    (void)queue->serve(now);
    (void)queue->rest(now);
    (void)queue->await_request();
    promise(transfers->on_the_way() <= RequestRing::size, "no more is on its way than the ring has room for");
  }

  Input input_;
  GrantedEntries grants_{guest};
  std::uint32_t produced_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(Input(data, size)).run();
  return 0;
}
