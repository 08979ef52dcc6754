// The library of the test guests: a minimal PV kernel. A guest defines test(), which kit_main calls. Then the
// guest powers off if all CHECKs held, or else reports a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include <xen/xen.h>

extern "C" std::uint64_t kit_recovery;

namespace kit {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr u64 page_size = 4096;
inline constexpr u64 present = 1, writable = 2, user = 4, cache_disable = 0x10, accessed = 0x20, dirty = 0x40,
                     large = 0x80;
inline constexpr u64 address_bits = 0x000ffffffffff000;
/// Flags of a plain data page.
inline constexpr u64 data = present | writable | accessed | dirty;

extern start_info_t* info;

// -- hypercalls
extern "C" long kit_hypercall(u64 number, u64, u64, u64, u64, u64);

template <class T>
u64 word(T value) {
  return static_cast<u64>(value);
}
template <class T>
u64 word(T* pointer) {
  return reinterpret_cast<u64>(pointer);
}
inline u64 word(decltype(nullptr)) { return 0; }

template <class... Args>
long hypercall(u64 number, Args... args) {
  const u64 a[5 + 1] = {word(args)...};
  return kit_hypercall(number, a[0], a[1], a[2], a[3], a[4]);
}

[[noreturn]] void shut_down(u32 reason);
/// Is this the control domain of a real Xen? Then more is permitted, and there is no console ring.
bool is_dom0();
/// Is it one of the words of the guest's command line, which spaces part?
bool asked_for(const char* word);
/// The number behind `key` in the command line.
u64 number_behind(const char* key, u64 otherwise);

// -- the console
struct Hex {
  u64 value;
};
inline Hex hex(u64 value) { return {value}; }
void put(const char* text);
void put(Hex number);
void put(long number);
template <class... Parts>
void say(Parts... parts) {
  (put(parts), ...);
  put("\n");
}

// -- checks
void count_check(bool holds, const char* file, int line, const char* what);
void count_equal(long got, long wanted, const char* file, int line, const char* what);
#define CHECK(condition) ::kit::count_check((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(got, wanted) \
  ::kit::count_equal(static_cast<long>(got), static_cast<long>(wanted), __FILE__, __LINE__, #got)
/// Prints whether all checks held, and powers off or crashes accordingly.
[[noreturn]] void finish();

// -- memory. Addresses are in the initial mapping, which has all of the guest's first frames.
struct alignas(page_size) Page {
  u64 words[512];
};
/// A zeroed page, mapped writable. There are 64.
Page* new_page();
u64 mfn_of(const void* va);
Page* page_of(u64 mfn);
/// A frame that is not the guest's: one behind all that it has at its start; or a neighbour's, if
/// the guest has one (kit/neighbour.hpp).
u64 foreign_frame();
/// The table of `level` (4 to 1) that translates `va` in the initial tables, and the slot's index in it.
Page* table_of(int level, u64 va);
u64 slot_of(int level, u64 va);
/// Machine address of that slot, as mmu_update takes it.
u64 entry_address(int level, u64 va);
u64 entry_of(int level, u64 va);
/// update_va_mapping of one page, with a flush of it.
long map(u64 va, u64 entry);
long map(const void* va, u64 entry);
long make_read_only(const void* page);
long make_writable(const void* page);
/// One mmu_update.
long set_entry(u64 machine_address, u64 value, u64 command = 0);
/// One mmuext_op.
long extended(u32 command, u64 mfn);
/// An address that is not mapped, but has an L1 table.
u64 unmapped_address();

// -- traps
struct Frame {
  u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
  u64 vector, error;
  u64 rip, cs, rflags, rsp, ss;
};
inline constexpr u64 event_vector = 0x100, syscall_vector = 0x101;
/// Registers handlers for all exceptions; before that the guest has none.
void install_traps(u8 flags = 0);
/// Called for each trap outside of FAULTING. Without it a trap ends the guest.
extern void (*on_trap)(Frame&);
extern "C" char kit_trap_entries[], kit_event_entry[], kit_syscall_entry[];
u64 cr2();

/// The trap of the last FAULTING; its vector is `none` if there was none.
struct Caught {
  static constexpr u64 none = ~0ULL;
  u64 vector = none, error = 0, address = 0, rip = 0;
};
extern Caught caught;

/// Runs instructions. A fault in them is recorded in `caught`, and execution goes on behind them.
#define FAULTING(instructions, ...)                                                     \
  do {                                                                                  \
    ::kit::caught = ::kit::Caught{};                                                    \
    asm volatile("lea 8f(%%rip), %%rax\n mov %%rax, kit_recovery(%%rip)\n" instructions \
                 "\n8: movq $0, kit_recovery(%%rip)"                                    \
                 :                                                                      \
                 : __VA_ARGS__                                                          \
                 : "rax", "memory", "cc");                                              \
  } while (0)
inline void try_store(u64 address, u64 value) { FAULTING("mov %1, (%0)", "r"(address), "r"(value)); }
inline void try_load(u64 address) { FAULTING("mov (%0), %%rax", "r"(address)); }

// -- time and events
shared_info_t* shared();
u64 now_ns();

}  // namespace kit

void test();
