// The validator's operations. The input chooses operations of two domains on one machine. After each the
// validator is compared with the model of the property tests, and audited.
#include "operation.hpp"

#include <array>
#include <optional>
#include <string>

#include "input.hpp"
#include "pvmmu/frame.hpp"
#include "world.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::pvmmu;
using namespace pinfold::pvmmu::property;
using pinfold::fuzz::Input;

constexpr std::size_t most_operations = 48;
/// The model has no limit of mirrors. So before mirrors can run out, a flush frees those that wait for one:
/// an operation takes and releases at most one for each of the 27 frames that a domain can have.
constexpr std::size_t waiting_mirrors = 20;
constexpr std::uint64_t mirrors = 80;

constexpr std::array<Kind, 12> more_often{Kind::guest_store, Kind::guest_store, Kind::guest_store,
                                          Kind::guest_store, Kind::update,      Kind::update,
                                          Kind::update,      Kind::update_va,   Kind::store_to_l1,
                                          Kind::pin,         Kind::touch,       Kind::processor_access};
constexpr std::array<std::size_t, 8> slots{0, 1, 2, 255, 256, 271, 272, 511};
constexpr std::array<std::uint64_t, 6> descriptors{
    0, 0x00cffa000000ffff, 0x00cf9a000000ffff, 0x0000890000000067, 0x00007fffffffffff, 0x0000a00000000000};

Mfn frame_of(std::uint8_t byte) {
  constexpr std::array<std::uint64_t, 8> weird{
      0,          machine_frames, machine_frames + 1, 1ULL << 20,
      1ULL << 39, 0x100001,       (1ULL << 40) - 2,   (1ULL << 40) - 1};
  return byte < 0xf0 ? Mfn(byte % machine_frames) : Mfn(weird[byte % weird.size()]);
}

std::size_t slot_of(std::uint8_t byte) {
  return byte < 0x80 ? slots[byte % slots.size()] : (byte & 0x7fU) * 4 + 3;
}

/// Bits 0 to 11: the entry's; 12: NX; 13: a descriptor instead; 14: the high bits that are
/// available to the guest.
std::uint64_t value_of(std::uint8_t target, std::uint16_t flags) {
  if ((flags >> 13 & 1) != 0) return descriptors[target % descriptors.size()];
  std::uint64_t bits = flags & 0xfffU;
  if ((flags >> 12 & 1) != 0) bits |= bit::no_execute;
  if ((flags >> 14 & 1) != 0) bits |= bit::available_high;
  return Pte(frame_of(target), bits).raw();
}

GuestVaddr address_of_tables(std::uint8_t byte) {
  const std::uint64_t va = slots[byte & 7U] << 39 | slots[byte >> 3 & 1U] << 30 |
                           slots[byte >> 4 & 1U] << 21 | slots[byte >> 5] << 12;
  return GuestVaddr((va >> 47 & 1) != 0 ? va | 0xffffULL << 48 : va);
}

/// Each operation takes eight bytes.
Operation take_operation(Input& input) {
  const auto head = input.take<std::uint8_t>();
  const std::size_t kind = head & 31U;
  Operation op;
  op.kind = kind < kinds ? static_cast<Kind>(kind) : more_often[kind - kinds];
  op.domain = head >> 5 & 1;
  op.choice = head >> 6;
  op.mfn = frame_of(input.take<std::uint8_t>());
  op.slot = slot_of(input.take<std::uint8_t>());
  const auto target = input.take<std::uint8_t>();
  op.value = value_of(target, input.take<std::uint16_t>());
  const auto other = input.take<std::uint8_t>();
  op.other = frame_of(other);
  op.va = address_of_tables(input.take<std::uint8_t>());
  if (op.kind == Kind::pin) op.choice += 1;
  if (op.kind == Kind::hold) op.choice = 1 + other % 6U;
  if (op.kind == Kind::write_descriptor && target < 0x80) op.value = descriptors[target % descriptors.size()];
  return op;
}

class Run {
 public:
  void step(const Operation& op) {
    log_ += "  " + op.describe() + "\n";
    check(world_.step(op, tally_));
  }
  void store(int domain, std::uint64_t mfn, std::size_t slot, std::uint64_t target, std::uint64_t flags) {
    Operation op;
    op.kind = Kind::guest_store;
    op.domain = domain;
    op.mfn = Mfn(mfn);
    op.slot = slot;
    op.value = Pte(Mfn(target), flags).raw();
    log_ += "  " + op.describe() + "\n";
    world_.prepare(op);
  }
  void flush_if_needed() {
    Operation op;
    op.kind = Kind::flush;
    for (op.domain = 0; op.domain < domains; ++op.domain)
      if (world_.waiting_mirrors(op.domain) > waiting_mirrors) step(op);
  }
  void finish() { check(world_.finish()); }

 private:
  void check(const std::optional<std::string>& failure) const {
    if (!failure) return;
    std::fprintf(stderr, "%s", log_.c_str());
    fuzz::broken(failure->c_str());
  }

  World world_{mirrors};
  Tally tally_;
  std::string log_;
};

/// A domain's frames, between those of the other domain: L4, L3, L2, two L1s and a page of data, linked.
void build_tree(Run& run, int domain, bool load) {
  const auto frame = [domain](std::uint64_t n) { return 2 * n + (domain == 0 ? 2 : 1); };
  for (std::uint64_t level = 0; level < 3; ++level)
    run.store(domain, frame(level), 0, frame(level + 1), test::table);
  run.store(domain, frame(2), 1, frame(4), test::table);
  run.store(domain, frame(3), 0, frame(5), test::rw);
  run.store(domain, frame(3), 1, frame(6), test::ro);
  run.store(domain, frame(4), 0, frame(0), test::ro);
  if (!load) return;
  Operation op;
  op.kind = Kind::load_root;
  op.domain = domain;
  op.mfn = Mfn(frame(0));
  run.step(op);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Run run;
  const auto start = input.take<std::uint8_t>();
  for (int d = 0; d < domains; ++d)
    if ((start >> d & 1) != 0) build_tree(run, d, (start >> (2 + d) & 1) != 0);
  for (std::size_t i = 0; i < most_operations && !input.empty(); ++i) {
    run.flush_if_needed();
    run.step(take_operation(input));
  }
  run.finish();
  return 0;
}
