#include "trace/log_sink.hpp"

#include "pvmmu/validator.hpp"

namespace pinfold::trace {

LogSink::LogSink(std::shared_ptr<Log> log, std::uint32_t vcpus)
    : log_(std::move(log)), turn_(log_->turn()), vcpus_(vcpus) {
  entered_.kind = pvmmu::TraceKind::entered;
}

LogSink::LogSink(std::unique_ptr<LogOutput> output, const Options& options)
    : LogSink(std::make_shared<Log>(std::move(output), options), options.vcpus) {}

void LogSink::started(const pvmmu::ValidatorParts& parts) {
  LogHeader header;
  header.domain = domain_ = parts.domain;
  header.vcpus = vcpus_;
  header.machine_frames = parts.frames.size();
  header.most_frames = parts.frames.most();
  header.max_frames = parts.max_frames;
  header.withheld = parts.frames.withheld();
  header.mirror_pages = parts.mirrors.pages().count();
  header.mirrors_at = parts.mirrors.frame(pvmmu::no_mirror);
  header.machphys_slot = parts.machphys_slot;
  header.most_windows = parts.most_windows;
  header.l4_xen_slots = parts.l4_xen_slots;
  turn_.lock();
  log_->begin_domain(turn_, header);
  turn_.unlock();
}

void LogSink::operation_begins() {
  turn_.lock();
  excluded_ = 0;
  begun_ = Log::ticks_now();
}

void LogSink::vcpu_entered(VcpuId vcpu, GuestVaddr ip, std::uint64_t cause) {
  entered_time_ = Log::ticks_now();
  entered_.slot = static_cast<std::uint16_t>(vcpu.raw());
  entered_.argument = ip.raw();
  entered_.count = cause;
  entered_told_ = false;
}

void LogSink::event(const pvmmu::TraceEvent& event) {
  const std::uint64_t now = Log::ticks_now();
  const bool within = pvmmu::is_within_operation(event.kind);
  if (!turn_.owns_lock()) turn_.lock();  // what is told from outside of operations
  if (!entered_told_) {
    entered_told_ = true;
    put(entered_, entered_time_, 0);
  }
  if (pvmmu::is_operation(event.kind))
    put(event, begun_, now - begun_ - excluded_);
  else
    put(event, within ? begun_ : now, 0);
  if (!within) return turn_.unlock();
  // What it takes to tell is not the operation's.
  excluded_ += Log::ticks_now() - now;
}

void LogSink::put(const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost) {
  log_->put(turn_, domain_, event, time, cost);
}

}  // namespace pinfold::trace
