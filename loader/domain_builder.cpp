#include "loader/domain_builder.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "loader/hypercall_page.hpp"
#include "loader/initial_tables.hpp"
#include "loader/start_info.hpp"

namespace pinfold::loader {
namespace {

constexpr std::size_t max_initrd_bytes = std::size_t{1} << 36;

Loaded<void> check(const DomainPlan& plan) {
  if (plan.command_line.size() > max_command_line) {
    return refuse("kernel command line has " + std::to_string(plan.command_line.size()) +
                  " characters, a PV guest can be given at most " + std::to_string(max_command_line));
  }
  if (plan.command_line.find('\0') != std::string_view::npos)
    return refuse("kernel command line contains a NUL");
  if (!std::ranges::all_of(plan.frames, [&](Mfn mfn) { return plan.machine.contains(mfn); })) {
    return refuse("domain was given a frame outside the machine");
  }
  return {};
}

void write_kernel(const DomainPlan& plan, const PseudoPhysical& memory) {
  for (const Segment& segment : plan.kernel.segments) {
    memory.write(segment.paddr - plan.kernel.paddr_offset, segment.file);
  }
  const KernelAddresses& at = plan.kernel.addresses;
  if (!at.hypercall_page) return;
  std::byte* page = memory.page(Pfn(at.physical(*at.hypercall_page) >> page_shift));
  fill_hypercall_page(std::span<std::byte, page_size>(page, page_size));
}

/// mfn_list: entry pfn is the machine frame of pfn (xen/xen.h, start_info).
void write_p2m(const DomainPlan& plan, const Layout& layout, const PseudoPhysical& memory) {
  static_assert(sizeof(Mfn) == sizeof(std::uint64_t));
  memory.write(layout.p2m.first.raw() << page_shift, std::as_bytes(plan.frames));
}

void write_start_info(const DomainPlan& plan, const Layout& layout, const PseudoPhysical& memory) {
  const bool mod_is_pfn = layout.initrd.count != 0 && !layout.initrd_mapped;
  StartInfo info;
  info.nr_pages = plan.frames.size();
  info.shared_info = address_of(plan.shared_info);
  info.flags = plan.flags | (mod_is_pfn ? sif_mod_start_pfn : 0);
  info.store_frame = memory.frame(layout.xenstore_ring);
  info.store_port = plan.store_port;
  info.console_frame = memory.frame(layout.console_ring);
  info.console_port = plan.console_port;
  info.pt_base = layout.va(layout.page_tables.first);
  info.nr_pt_frames = layout.page_tables.count;
  info.mfn_list = layout.p2m_va();
  if (mod_is_pfn) {
    info.mod_start = layout.initrd.first.raw();
  } else if (layout.initrd_mapped) {
    info.mod_start = layout.va(layout.initrd.first).raw();
  }
  info.mod_len = plan.initrd.size();
  info.command_line = plan.command_line;
  if (layout.p2m_mapping) {
    info.first_p2m_pfn = layout.p2m_frames().first;
    info.nr_p2m_frames = layout.p2m_frames().count;
  }
  write(info, std::span<std::byte, page_size>(memory.page(layout.start_info), page_size));
}

std::vector<PageTableFrame> list_tables(const Layout& layout, const PseudoPhysical& memory) {
  std::vector<PageTableFrame> list;
  for (const TableRuns* runs : {&layout.main_tables, &layout.p2m_tables}) {
    for (std::size_t level = runs->size(); level >= 1; --level) {
      const PfnRun& frames = (*runs)[level - 1].frames;
      for (std::uint64_t i = 0; i < frames.count; ++i) {
        list.push_back({memory.frame(frames.first.plus(i)), static_cast<std::uint8_t>(level)});
      }
    }
  }
  return list;
}

}  // namespace

Loaded<Initrd> load_initrd(const std::filesystem::path& path) {
  auto file = Buffer::map_file(path, max_initrd_bytes);
  if (!file) return refuse(printable(path.native(), 200) + ": " + file.error().message);
  return Initrd(std::move(*file));
}

Loaded<BuiltDomain> build_domain(const DomainPlan& plan) {
  if (auto fine = check(plan); !fine) return tl::unexpected(fine.error());
  const KernelAddresses& at = plan.kernel.addresses;
  const auto planned =
      plan_layout({at, plan.kernel.notes.mod_start_pfn, plan.frames.size(), plan.initrd.size()});
  if (!planned) return tl::unexpected(planned.error());
  const Layout& layout = *planned;

  const PseudoPhysical memory(plan.machine, plan.frames);
  write_kernel(plan, memory);
  memory.write(layout.initrd.first.raw() << page_shift, plan.initrd);
  write_p2m(plan, layout, memory);
  write_start_info(plan, layout, memory);
  write_initial_tables(layout, memory);

  BuiltDomain built;
  built.entry = at.entry;
  built.start_info = layout.va(layout.start_info);
  built.stack_top = layout.va(layout.boot_stack.plus(1));
  built.l4 = memory.frame(layout.page_tables.first);
  built.start_info_frame = memory.frame(layout.start_info);
  built.console_ring = memory.frame(layout.console_ring);
  built.xenstore_ring = memory.frame(layout.xenstore_ring);
  built.page_tables = list_tables(layout, memory);
  built.layout = layout;
  return built;
}

}  // namespace pinfold::loader
