// Kernel images: with any bytes, parsing ends with a consistent image or with a line of text, and the
// validator accepts the page tables of a domain that is built from an image.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "fake_machine.hpp"
#include "input.hpp"
#include "loader/bzimage.hpp"
#include "loader/domain_builder.hpp"
#include "loader/kernel_image.hpp"
#include "loader/unpack.hpp"

namespace {

using namespace pinfold;
using namespace pinfold::loader;
using pinfold::fuzz::promise;

/// The first limit for unpacked data. Inputs that unpack to more are skipped, because they only take time.
constexpr std::size_t most_unpacked = std::size_t{1} << 20;
/// Images are built into a domain of 6 MiB, which has room for kernels of up to about 1.5 MiB.
constexpr std::uint64_t domain_pages = 1536;

void check_error(const LoadError& error) {
  promise(!error.message.empty(), "an error says something");
  promise(std::ranges::all_of(error.message, [](char c) { return c >= 0x20 && c <= 0x7e; }),
          "an error is one printable line");
  promise(error.message.size() < 2000, "an error is short");
}

bool lies_in(std::span<const std::byte> part, std::span<const std::byte> whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_image(const KernelImage& image, std::span<const std::byte> file) {
  const auto bytes = image.bytes.bytes().empty() ? file : image.bytes.bytes();
  std::uint64_t end = 0;
  for (const Segment& segment : image.segments) {
    promise(lies_in(segment.file, bytes), "a segment lies in the image");
    promise(segment.memsz >= segment.file.size() && segment.memsz != 0, "a segment holds its bytes");
    promise(segment.paddr >= end && segment.paddr + segment.memsz > segment.paddr, "segments are apart");
    promise(segment.paddr >= image.paddr_offset, "segments lie above the offset");
    end = segment.paddr + segment.memsz;
  }
  const KernelAddresses& at = image.addresses;
  promise(!image.segments.empty(), "an image has segments");
  promise(at.virt_base.raw() % page_size == 0, "VIRT_BASE is the start of a page");
  promise(at.virt_base <= at.start && at.start <= at.entry, "the image begins before its entry");
  promise(at.entry.raw() - at.start.raw() <= at.end.raw() - 1 - at.start.raw(),
          "the entry lies in the image");
  promise(is_canonical(at.start.raw()) && is_canonical(at.end.raw() - 1), "the image has real addresses");
  promise(!in_xen_range(at.start.raw()) && !in_xen_range(at.end.raw() - 1), "and a guest's");
  promise(!at.hypercall_page || at.hypercall_page->raw() % page_size == 0, "the hypercall page is one");
  promise(!at.init_p2m || *at.init_p2m < at.virt_base, "the p2m list lies below");
}

void check_layout(const Layout& layout, std::uint64_t pages) {
  promise(layout.end.raw() <= pages, "a layout fits into memory");
  std::vector<PfnRun> runs{layout.kernel,
                           layout.initrd,
                           layout.p2m,
                           {layout.start_info, 1},
                           {layout.xenstore_ring, 1},
                           {layout.console_ring, 1},
                           layout.page_tables,
                           {layout.boot_stack, 1},
                           layout.p2m_page_tables};
  std::erase_if(runs, [](const PfnRun& run) { return run.count == 0; });
  std::ranges::sort(runs, {}, [](const PfnRun& run) { return run.first.raw(); });
  Pfn end;
  for (const PfnRun& run : runs) {
    promise(run.first >= end, "nothing lies on something else");
    end = run.end();
  }
  promise(end <= layout.end, "nothing lies past the end");
}

/// A machine with one domain, for building a kernel into it.
class Machine {
 public:
  Machine() {
    for (std::uint64_t i = 0; i < domain_pages; ++i) frames_.push_back(Mfn(i + 1));
  }
  void build(const KernelImage& kernel, std::span<const std::byte> initrd) {
    pvmmu::test::FakeMachine machine(domain_pages + 2);
    pvmmu::test::FakeDomain domain(machine, DomId(1), {32});
    promise(domain.mmu.allocate(domain.held, domain_pages).value() == frames_.front(),
            "frames come in order");
    const MachineMemory memory(machine.memory.pages().page(0), domain_pages + 2);
    const auto built =
        build_domain({kernel, initrd, "console=hvc0", frames_, memory, Mfn(0), Port(1), Port(2)});
    if (!built) return check_error(built.error());
    check_layout(built->layout, domain_pages);
    check_tables(domain, *built, kernel);
  }

 private:
  static void check_tables(pvmmu::test::FakeDomain& domain, const BuiltDomain& built,
                           const KernelImage& kernel) {
    Mfn root = no_mfn;
    promise(domain.mmu.load_root(domain.held, root, built.l4).has_value(), "the validator takes the tables");
    for (const PageTableFrame& table : built.page_tables)
      promise(domain.mmu.frame(table.mfn).type == static_cast<pvmmu::FrameType>(table.level),
              "all tables are in use");
    const auto mapped = [&](GuestVaddr va) {
      const auto leaf = domain.mmu.walk(domain.held, root, va);
      return leaf && leaf->entry.present() && leaf->executable;
    };
    promise(mapped(kernel.addresses.entry), "the entry point is mapped");
    promise(mapped(built.start_info), "start_info is mapped");
    promise(mapped(GuestVaddr(built.stack_top.raw() - 1)), "the stack is mapped");
    domain.mmu.unload_root(domain.held, root);
    promise(domain.mmu.destroy(domain.held) == 0, "nothing is left of the domain");
  }

  std::vector<Mfn> frames_;
};

/// Is the whole image small enough to check it quickly?
bool is_bounded(std::span<const std::byte> file) {
  auto packed = file;
  if (is_bzimage(file)) {
    const auto payload = bzimage_payload(file);
    if (!payload) return true;
    promise(lies_in(*payload, file), "the payload lies in the file");
    packed = *payload;
  }
  if (packing_of(packed) == Packing::none) return true;
  const auto unpacked = unpack(packed, {}, most_unpacked);
  if (unpacked) promise(unpacked->bytes().size() <= most_unpacked, "the limit holds");
  if (!unpacked) check_error(unpacked.error());
  return unpacked.has_value();
}

void lay_out(const KernelImage& image, bool initrd) {
  for (const std::uint64_t pages :
       {std::uint64_t{0}, domain_pages, std::uint64_t{1} << 17, std::uint64_t{1} << 34}) {
    const auto layout =
        plan_layout({image.addresses, image.notes.mod_start_pfn, pages, initrd ? std::uint64_t{10'000} : 0});
    if (layout) check_layout(*layout, pages);
    if (!layout) check_error(layout.error());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  if (!is_bounded(file)) return 0;
  const auto image = parse_kernel(file);
  if (!image) {
    check_error(image.error());
    return 0;
  }
  check_image(*image, file);
  const bool initrd = size % 2 == 1;
  lay_out(*image, initrd);
  static Machine machine;
  const auto& at = image->addresses;
  if (at.physical(at.end) < domain_pages * page_size) machine.build(*image, initrd ? file : file.first(0));
  return 0;
}
