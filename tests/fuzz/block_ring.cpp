// A block frontend that writes anything into its ring, its grant table and its pages, at any time.
#include <algorithm>

#include "input.hpp"
#include "queue_fixture.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::devices;
using namespace pinfold::devices::block;
using pinfold::fuzz::Input;
using pinfold::fuzz::promise;

constexpr std::uint32_t refs = 32;

class World : QueueFixture {
 public:
  explicit World(Input input) : QueueFixture(64), input_(input) {
    for (std::uint32_t n = 0; n < refs; ++n)
      if (n != ring_ref) guest.grant(n, n);
    connect();
  }

  void run() {
    while (!input_.empty()) step(input_.take<std::uint8_t>());
    image.stuck = false;
    for (int i = 0; i < 4; ++i) serve();
    promise(queue->is_idle(), "a disk that works is done with everything");
    queue.reset();
    promise(guest.target.frames_held() == 0, "no frame is held");
    for (std::uint32_t ref = 0; ref < refs; ++ref) {
      const auto flags = guest.flags(ref);
      const bool granted = (flags & GTF_type_mask) == GTF_permit_access;
      promise(!granted || marks_[ref] || (flags & (GTF_reading | GTF_writing)) == 0, "no grant is marked");
    }
  }

 private:
  void step(std::uint8_t what) {
    switch (what % 8) {
      case 0: return serve();
      case 1: return put(64 + input_.take<std::uint8_t>() % 32 * 112, 112);
      case 2:
        return guest.frame(ring_frame).store<std::uint32_t>(0, produced_ += input_.take<std::uint8_t>() % 34);
      case 3: return guest.frame(ring_frame).store(0, produced_ = input_.take<std::uint32_t>());
      case 4: {
        const std::uint32_t ref = input_.take<std::uint8_t>() % refs;
        const auto flags = input_.take<std::uint16_t>();
        if (ref == ring_ref) return;
        marks_[ref] = marks_[ref] || (flags & (GTF_reading | GTF_writing)) != 0;
        return guest.grant(ref, input_.take<std::uint8_t>(), flags, input_.take<std::uint8_t>() % 2);
      }
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
  std::uint32_t produced_ = 0;
  std::array<bool, refs> marks_{};  ///< Grants that the guest itself marked.
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  World(Input(data, size)).run();
  return 0;
}
