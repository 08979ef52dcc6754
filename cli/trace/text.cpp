#include "trace/text.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "trace/event_code.hpp"

namespace pinfold::trace {
namespace {

using pvmmu::FrameState;
using pvmmu::Pte;
using pvmmu::TraceKind;
using Json = nlohmann::ordered_json;

constexpr double ns_per_ms = 1e6;

std::string hex(std::uint64_t value) { return fmt::format("{:#x}", value); }

std::string address_name(const Namer& namer, std::uint64_t address) {
  return namer ? namer(address) : hex(address);
}

std::string state_of(const std::optional<FrameState>& s) {
  if (!s) return "not the domain's";
  return fmt::format("{} x{}, {} refs{}", name(s->type), s->type_count, s->refs, s->pinned ? ", pinned" : "");
}

/// "l1 x1, 2 refs" or "writable x1, 2 refs -> x2, 3 refs".
std::string change_of(const LogEvent& e) {
  if (!e.before && !e.after) return {};
  if (e.before == e.after) return fmt::format(" ({})", state_of(e.before));
  return fmt::format(" ({} -> {})", state_of(e.before), state_of(e.after));
}

/// " copy from grant 8 of d1 frame 0x67 64 bytes", " unmap handle 0".
std::string use_of(const LogEvent& e, const std::string& frame) {
  std::string text = e.count < pvmmu::grant_purposes
                         ? fmt::format(" {}", name(static_cast<pvmmu::GrantPurpose>(e.count)))
                         : std::string();
  if (e.grant) text += fmt::format(" grant {} of d{}", e.grant->ref.raw(), e.grant->lender.raw());
  text += frame;
  // An unmap that names its grant has a handle that is known.
  if (e.count == static_cast<std::uint64_t>(pvmmu::GrantPurpose::unmap))
    return e.grant ? text : text + fmt::format(" handle {}", e.argument);
  return e.argument == 0 ? text : text + fmt::format(" {} bytes", e.argument);
}

std::string subject_of(const LogEvent& e, const Namer& namer) {
  const std::string frame = e.frame == no_mfn ? std::string() : " frame " + hex(e.frame.raw());
  switch (e.kind) {
    case TraceKind::set_machphys: return fmt::format("{} x{} is pfn {:#x}", frame, e.count, e.argument);
    case TraceKind::pin: return fmt::format(" as L{}{}", e.level, frame);
    case TraceKind::load_root:
    case TraceKind::unload_root:
      return e.root == no_mfn ? frame : fmt::format("{} instead of {:#x}", frame, e.root.raw());
    case TraceKind::copy_page: return fmt::format("{} from {:#x}", frame, e.argument);
    case TraceKind::write_descriptor:
      return fmt::format(" {:#018x} at machine address {:#x}", e.now.raw(), e.argument);
    case TraceKind::hold:
    case TraceKind::protected_frame: return fmt::format("{} as {}", frame, name(e.wanted));
    case TraceKind::plain_frame: return fmt::format("{} was {}", frame, name(e.wanted));
    case TraceKind::allocate:
      return fmt::format(" {} aligned {}{}{}{}", e.count, e.argument, e.frame == no_mfn ? "" : ":", frame,
                         e.marks.cleared ? " cleared" : "");
    case TraceKind::forget_mirrors: return fmt::format(" up to {}", e.argument);
    case TraceKind::destroy: return fmt::format(" {} frames left", e.count);
    case TraceKind::host_refused: return frame + (e.marks.revoke ? " to take away" : " to protect");
    case TraceKind::entered:
      return fmt::format(" {} at {}", cause_name(e.count), address_name(namer, e.argument));
    case TraceKind::flushed:
      return e.argument == pvmmu::every_vcpu ? " every vCPU" : fmt::format(" vCPU {}", e.argument);
    case TraceKind::receive: return fmt::format("{} as pfn {:#x}", frame, e.argument);
    case TraceKind::machine_grew: return fmt::format(" to {} frames", e.count);
    case TraceKind::fill_windows: return fmt::format(" at {:#x} under {:#x}", e.argument, e.root.raw());
    case TraceKind::state: return fmt::format(" {} digests", e.digests.size());
    case TraceKind::use_grant: return use_of(e, frame);
    default: return frame;
  }
}

/// What the counts are of, where the line has not said it.
std::string entry_of(const LogEvent& e) {
  std::string text;
  if (e.kind == TraceKind::update_va) text += fmt::format(" va {:#x}", e.argument);
  if (e.table == no_mfn) return text + fmt::format(" entry {:#x}", e.now.raw());
  text += e.level == 0 ? " data " : fmt::format(" L{} ", e.level);
  text += fmt::format("{:#x}[{}] {:#x} -> {:#x}", e.table.raw(), e.slot, e.old.raw(), e.now.raw());
  if (e.frame != no_mfn) text += fmt::format(" frame {:#x}", e.frame.raw());
  return text;
}

/// "L1 0x12[3] maps 0x45 -> frame 0x67 of d1 by grant 8 writable".
std::string grant_of(const LogEvent& e) {
  std::string text = fmt::format(" L{} {:#x}[{}] {:#x}", e.level, e.table.raw(), e.slot, e.old.raw());
  if (e.kind == TraceKind::map_granted) text += " -> " + hex(e.now.raw());
  text += fmt::format(" frame {:#x}{}", e.now.mfn().raw(), e.now.writable() ? " writable" : "");
  if (e.grant && e.grant->lender != no_domain)
    text += fmt::format(" by grant {} of d{}", e.grant->ref.raw(), e.grant->lender.raw());
  if (e.kind == TraceKind::replace_granted) text += fmt::format(" with what is at {:#x}", e.argument);
  return text;
}

bool is_of_entry(TraceKind kind) { return kind <= TraceKind::touch; }

bool is_refused(const LogEvent& e) { return e.refusal && e.refusal->rule != pvmmu::Rule::unfinished; }

Json json_state(const FrameState& s) {
  return {{"type", name(s.type)}, {"type_count", s.type_count}, {"refs", s.refs}, {"pinned", s.pinned}};
}

Json json_refusal(const pvmmu::Refusal& r) {
  Json json{{"rule", info(r.rule).name}, {"text", info(r.rule).text}};
  if (r.table != no_mfn) json["table"] = hex(r.table.raw()), json["slot"] = r.slot;
  if (r.entry != Pte()) json["entry"] = hex(r.entry.raw());
  if (r.frame != no_mfn) {
    json["frame"] = hex(r.frame.raw());
    if (r.state.owner() != no_domain) json["owner"] = r.state.owner().raw();
    json["type"] = name(r.state.type);
    json["type_count"] = r.state.type_count;
    json["refs"] = r.state.refs;
  }
  return json;
}

class TextOutput final : public LogOutput {
 public:
  TextOutput(std::FILE* to, Filter filter, Namer namer)
      : to_(to), filter_(std::move(filter)), namer_(std::move(namer)) {}

  bool begin(const LogHeader& header) override {
    header_ = header;
    return true;
  }
  bool block(std::span<const std::byte> bytes) override {
    const auto head = decode_block_header(bytes);
    if (!head) return false;
    decoder_.begin_block(bytes.subspan(block_header_bytes), head->time, header_.domain);
    LogEvent event;
    std::string lines;
    for (std::uint32_t i = 0; i < head->events && decoder_.next(event); ++i) {
      event.number = head->first + i;
      several_ = several_ || event.kind == TraceKind::domain_begins;
      event.of_several = several_;
      if (filter_.matches(event)) lines += line_of(header_, event, namer_) + '\n';
    }
    return std::fwrite(lines.data(), 1, lines.size(), to_) == lines.size() && std::fflush(to_) == 0;
  }
  [[nodiscard]] std::string failure() const override { return "the output can't be written"; }

 private:
  std::FILE* to_;
  Filter filter_;
  Namer namer_;
  LogHeader header_;
  bool several_ = false;  ///< Another domain has begun.
  EventDecoder decoder_;
};

}  // namespace

std::string cause_name(std::uint64_t cause) {
  if (cause < pvmmu::cause_exception) return fmt::format("hypercall {}", cause);
  if (cause < pvmmu::cause_other) return fmt::format("exception {}", cause - pvmmu::cause_exception);
  return "other";
}

std::string line_of(const LogHeader& header, const LogEvent& e, const Namer& namer) {
  std::string line = fmt::format("{}{:>8} {:>11.3f} ms ", is_refused(e) ? "REFUSED " : "        ", e.number,
                                 header.nanoseconds(e.time) / ns_per_ms);
  if (e.of_several) line += fmt::format("d{} ", e.domain.raw());
  line += e.by_vcpu ? fmt::format("v{} ", e.vcpu.raw()) : "-- ";
  if (is_within_operation(e.kind)) line += "  ";
  line += name(e.kind);
  line += is_of_entry(e.kind) ? entry_of(e) : is_of_grant(e.kind) ? grant_of(e) : subject_of(e, namer);
  line += change_of(e);
  if (e.marks.preserve) line += " keeping A and D";
  if (e.marks.flush) line += " flush";
  if (e.marks.continued && e.kind == TraceKind::finish_releases) line += " unfinished";
  if (e.refusal) line += " : " + e.refusal->describe();
  if (is_operation(e.kind)) {
    line += fmt::format(" [{:.0f} ns", header.nanoseconds(e.cost));
    if (e.by_vcpu) line += " " + address_name(namer, e.ip.raw());
    line += "]";
  }
  return line;
}

std::string json_of(const LogHeader& header, const LogEvent& e, const Namer& namer) {
  Json json{{"number", e.number}, {"ns", header.nanoseconds(e.time)}, {"op", name(e.kind)}};
  json["domain"] = e.domain.raw();
  if (e.by_vcpu) {
    json["vcpu"] = e.vcpu.raw();
    json["ip"] = hex(e.ip.raw());
    if (namer) json["function"] = namer(e.ip.raw());
    json["cause"] = cause_name(e.cause);
  }
  if (e.level != 0) json["level"] = e.level;
  if (e.table != no_mfn) json["table"] = hex(e.table.raw()), json["slot"] = e.slot;
  if (e.grant && e.grant->lender != no_domain)
    json["grant"] = {{"lender", e.grant->lender.raw()}, {"ref", e.grant->ref.raw()}};
  if (is_of_entry(e.kind) || is_of_grant(e.kind) || e.kind == TraceKind::write_descriptor) {
    json["old"] = hex(e.old.raw());
    json["new"] = hex(e.now.raw());
  }
  if (e.frame != no_mfn) json["frame"] = hex(e.frame.raw());
  if (e.wanted != pvmmu::FrameType::none) json["type"] = name(e.wanted);
  if (e.root != no_mfn) json["root"] = hex(e.root.raw());
  if (e.before) json["before"] = json_state(*e.before);
  if (e.after) json["after"] = json_state(*e.after);
  if (e.kind != TraceKind::entered) {
    if (e.argument != 0 && e.argument != pvmmu::every_vcpu) json["argument"] = hex(e.argument);
    if (e.argument == pvmmu::every_vcpu) json["argument"] = "all";
    if (e.count != 0) json["count"] = e.count;
  }
  if (e.marks.preserve) json["preserve"] = true;
  if (e.marks.flush) json["flush"] = true;
  if (e.marks.write) json["write"] = true;
  if (e.marks.cleared) json["cleared"] = true;
  if (e.marks.revoke) json["revoke"] = true;
  if (e.marks.continued) json["continued"] = true;
  if (e.kind == TraceKind::use_grant && e.count < pvmmu::grant_purposes)
    json["purpose"] = name(static_cast<pvmmu::GrantPurpose>(e.count));
  if (is_judged(e.kind)) json["verdict"] = is_refused(e) ? "refused" : e.refusal ? "unfinished" : "accepted";
  if (is_operation(e.kind)) json["cost_ns"] = header.nanoseconds(e.cost);
  if (e.refusal) json["refusal"] = json_refusal(*e.refusal);
  if (e.kind == TraceKind::protected_frame && !e.contents.empty()) {
    Json entries = Json::object();
    for (std::size_t slot = 0; slot < e.contents.size(); ++slot)
      if (e.contents[slot] != 0) entries[std::to_string(slot)] = hex(e.contents[slot]);
    json["contents"] = std::move(entries);
  }
  return json.dump();
}

std::unique_ptr<LogOutput> text_output(std::FILE* to, Filter filter, Namer namer) {
  return std::make_unique<TextOutput>(to, std::move(filter), std::move(namer));
}

}  // namespace pinfold::trace
