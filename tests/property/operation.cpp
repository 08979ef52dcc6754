#include "operation.hpp"

#include <array>
#include <cstdio>

#include "pvmmu/frame.hpp"

namespace pinfold::pvmmu::property {
namespace {

constexpr std::array<const char*, kinds> names{"guest_store",
                                               "processor_access",
                                               "update",
                                               "update_va",
                                               "store_to_l1",
                                               "pin",
                                               "unpin",
                                               "load_root",
                                               "unload_root",
                                               "hold",
                                               "release",
                                               "allocate",
                                               "deallocate",
                                               "exchange",
                                               "write_descriptor",
                                               "set_machphys",
                                               "clear_page",
                                               "copy_page",
                                               "touch",
                                               "flush",
                                               "hide_machphys"};
/// The relative frequency of each kind, in the same order.
constexpr std::array<unsigned, kinds> weights{220, 40, 200, 40, 40, 60, 40, 40, 12, 25, 30,
                                              30,  22, 10,  15, 10, 4,  4,  40, 20, 6};

constexpr std::array<std::size_t, 8> slots{0, 1, 2, 255, 256, 271, 272, 511};
constexpr std::array<std::uint64_t, 6> descriptors{
    0, 0x00cffa000000ffff, 0x00cf9a000000ffff, 0x0000890000000067, 0x00007fffffffffff, 0x0000a00000000000};

/// 4 to 1: a table of that level. 5: descriptors. 0: data.
unsigned role(Mfn mfn) {
  constexpr std::array<unsigned, 8> roles{4, 3, 2, 1, 1, 5, 0, 0};
  return roles[mfn.raw() / 2 % roles.size()];
}

class Generator {
 public:
  explicit Generator(std::uint64_t seed) : random_(seed) {}

  Operation next(bool prelude) {
    Operation op;
    op.kind = prelude ? Kind::guest_store : pick_kind();
    op.domain = chance(50) ? 1 : 0;
    op.mfn = prelude ? any_frame(op.domain, 1 + static_cast<unsigned>(below_n(4))) : frame_for(op);
    const unsigned level = op.kind == Kind::store_to_l1 || op.kind == Kind::update_va ? 1 : role(op.mfn);
    op.slot = slots[below_n(level >= 2 && level <= 4 && chance(80) ? 2 : slots.size())];
    op.value = level == 5 ? descriptors[below_n(descriptors.size())]
                          : entry(op.domain, level, prelude || chance(80));
    if (op.kind == Kind::write_descriptor) op.value = descriptors[below_n(descriptors.size())];
    op.va = GuestVaddr(slots[below_n(chance(90) ? 2 : slots.size())] << 39 | slots[below_n(2)] << 30 |
                       slots[below_n(2)] << 21 | slots[below_n(slots.size())] << 12);
    if ((op.va.raw() >> 47 & 1) != 0) op.va = GuestVaddr(op.va.raw() | 0xffffULL << 48);
    op.other = any_frame(op.domain, 0);
    op.choice = static_cast<unsigned>(below_n(8));
    if (op.kind == Kind::pin) op.choice = chance(90) && level >= 1 && level <= 4 ? level : 1 + op.choice % 4;
    if (op.kind == Kind::hold)
      op.choice = chance(25) ? 0 : level == 5 ? 5 : chance(50) ? 6 : 1 + op.choice % 4;
    return op;
  }

 private:
  std::size_t below_n(std::size_t n) { return random_() % n; }
  bool chance(unsigned percent) { return random_() % 100 < percent; }

  Kind pick_kind() {
    unsigned total = 0;
    for (const unsigned w : weights) total += w;
    auto at = static_cast<unsigned>(random_() % total);
    std::size_t kind = 0;
    while (at >= weights[kind]) at -= weights[kind++];
    return static_cast<Kind>(kind);
  }

  /// A frame of this role, most likely one of the domain's: at the start the domains get frames in turn.
  Mfn any_frame(int domain, unsigned wanted) { return own_frame(chance(4) ? 1 - domain : domain, wanted); }
  Mfn own_frame(int domain, unsigned wanted) {
    for (int tries = 0; tries < 200; ++tries) {
      const Mfn mfn(1 + below_n(48));
      if (role(mfn) == wanted && mfn.raw() % 2 == static_cast<unsigned>(domain)) return mfn;
    }
    return Mfn(1);
  }

  Mfn frame_for(const Operation& op) {
    if (chance(3)) return weird_frame();
    switch (op.kind) {
      case Kind::load_root: return any_frame(op.domain, 4);
      case Kind::store_to_l1:
      case Kind::processor_access: return any_frame(op.domain, 1);
      case Kind::hold:
      case Kind::write_descriptor: return any_frame(op.domain, chance(70) ? 5 : 0);
      case Kind::clear_page:
      case Kind::copy_page: return any_frame(op.domain, static_cast<unsigned>(below_n(6)));
      default: return any_frame(op.domain, static_cast<unsigned>(below_n(6)));
    }
  }

  Mfn weird_frame() {
    constexpr std::array<std::uint64_t, 5> weird{0, machine_frames, 1ULL << 39, (1ULL << 40) - 2,
                                                 (1ULL << 40) - 1};
    return chance(50) ? Mfn(weird[below_n(weird.size())]) : Mfn(1 + below_n(machine_frames - 1));
  }

  /// `sound`: an entry as a kernel that knows the rules would make it.
  std::uint64_t entry(int domain, unsigned level, bool sound) {
    const bool upper = level >= 2 && level <= 4;
    if (chance(upper && sound ? 8 : 25)) return chance(70) ? 0 : random_() & ~bit::present;
    if (upper && sound && chance(20)) return linear_entry(domain, level);
    const unsigned wanted = upper ? level - 1 : chance(80) ? 0 : static_cast<unsigned>(below_n(6));
    const Mfn target = sound || chance(80) ? own_frame(domain, wanted) : weird_frame();
    std::uint64_t flags = bit::present | (random_() & (bit::user | bit::accessed | bit::dirty));
    if (upper || wanted == 0 ? chance(60) : !sound && chance(40)) flags |= bit::writable;
    if (chance(10)) flags |= bit::no_execute;
    if (chance(5)) flags |= random_() & (bit::available | bit::available_high);
    if (!sound && chance(10))
      flags |= random_() & (bit::write_through | bit::cache_disable | bit::pat_or_large | bit::global);
    return Pte(target, flags).raw();
  }

  /// An entry for a table of its own level. Some have RW, which is refused.
  std::uint64_t linear_entry(int domain, unsigned level) {
    const std::uint64_t flags =
        bit::present | (chance(10) ? bit::writable : 0) | (random_() & bit::no_execute);
    return Pte(own_frame(domain, level), flags).raw();
  }

  std::mt19937_64 random_;
};

}  // namespace

const char* name(Kind kind) { return names[static_cast<std::size_t>(kind)]; }

std::string Operation::describe() const {
  std::array<char, 200> line{};
  std::snprintf(line.data(), line.size(),
                "domain %d %s frame %llu slot %zu value %#llx choice %u va %#llx other %llu", domain,
                name(kind), static_cast<unsigned long long>(mfn.raw()), slot,
                static_cast<unsigned long long>(value), choice, static_cast<unsigned long long>(va.raw()),
                static_cast<unsigned long long>(other.raw()));
  return line.data();
}

std::string Operation::code() const {
  std::array<char, 200> line{};
  std::snprintf(line.data(), line.size(),
                "{Kind::%s, %d, Mfn(%#llx), Mfn(%#llx), %zu, %#llx, GuestVaddr(%#llx), %u},", name(kind),
                domain, static_cast<unsigned long long>(mfn.raw()),
                static_cast<unsigned long long>(other.raw()), slot, static_cast<unsigned long long>(value),
                static_cast<unsigned long long>(va.raw()), choice);
  return line.data();
}

std::vector<Operation> random_operations(std::uint64_t seed, std::size_t count) {
  Generator generator(seed);
  std::vector<Operation> all;
  constexpr std::size_t stores_first = 60;
  for (std::size_t i = 0; i < count; ++i) all.push_back(generator.next(i < stores_first));
  return all;
}

}  // namespace pinfold::pvmmu::property
