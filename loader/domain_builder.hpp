// Puts a kernel, its initrd and what Xen's ABI owes it into a new domain's memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "loader/buffer.hpp"
#include "loader/kernel_image.hpp"
#include "loader/layout.hpp"
#include "loader/load_error.hpp"
#include "loader/machine_memory.hpp"
#include "pvmmu/types.hpp"

namespace pinfold::loader {

/// An initrd file, mapped read-only: its pages are copied once, into the guest. The file must keep its size
/// while this lives.
class Initrd {
 public:
  explicit Initrd(Buffer file) : file_(std::move(file)) {}
  [[nodiscard]] std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  Buffer file_;
};

/// Errors start with the path.
[[nodiscard]] Loaded<Initrd> load_initrd(const std::filesystem::path& path);

/// Characters that fit into start_info's cmd_line besides the NUL (MAX_GUEST_CMDLINE, xen/xen.h).
inline constexpr std::size_t max_command_line = 1023;

struct DomainPlan {
  const KernelImage& kernel;
  std::span<const std::byte> initrd;  // empty: none
  std::string_view command_line;
  std::span<const Mfn> frames;  // all memory of the domain: frames[pfn]. Must read as zero
  MachineMemory machine;
  Mfn shared_info;
  Port store_port;  // the guest's ends of the channels; 0: none
  Port console_port;
  std::uint32_t flags = 0;  // SIF_*, xen/xen.h; SIF_MOD_START_PFN is added where it applies
};

struct PageTableFrame {
  Mfn mfn;
  std::uint8_t level = 1;  // 1 to 4
};

/// What a vCPU needs to start, and the monitor to serve it.
struct BuiltDomain {
  GuestVaddr entry;       // RIP
  GuestVaddr start_info;  // RSI
  GuestVaddr stack_top;   // RSP and kernel_sp: past the boot stack page
  Mfn l4;                 // CR3, once validated
  Mfn start_info_frame;
  Mfn console_ring;
  Mfn xenstore_ring;
  std::vector<PageTableFrame> page_tables;  // all initial tables, the L4 first; none is pinned
  Layout layout;
};

/// Writes everything but the machine-to-phys table, shared_info and the vCPU's registers. Nothing is written
/// before all checks have passed. Time: proportional to kernel, initrd and p2m list. Errors: memory too
/// small, command line too long or with a NUL in it, a frame outside the machine.
[[nodiscard]] Loaded<BuiltDomain> build_domain(const DomainPlan& plan);

}  // namespace pinfold::loader
