// From a domain's validator to the log of its machine.
#pragma once

#include <memory>

#include "pvmmu/trace.hpp"
#include "trace/log.hpp"

namespace pinfold::trace {

/// Puts the events of one domain into a log. The caller of event() holds the domain's lock, or is the only
/// thread that could take it.
class LogSink final : public pvmmu::TraceSink {
 public:
  using Account = Log::Account;
  struct Options : Log::Options {
    std::uint32_t vcpus = 1;
  };

  LogSink(std::shared_ptr<Log> log, std::uint32_t vcpus);
  /// For a domain that has a log of its own.
  LogSink(std::unique_ptr<LogOutput> output, const Options& options);

  void started(const pvmmu::ValidatorParts& parts) override;
  void operation_begins() override;
  void event(const pvmmu::TraceEvent& event) override;
  void vcpu_entered(VcpuId vcpu, GuestVaddr ip, std::uint64_t cause) override;

  /// Closes the log, for all its domains.
  Account close() { return log_->close(); }

 private:
  void put(const pvmmu::TraceEvent& event, std::uint64_t time, std::uint64_t cost);

  std::shared_ptr<Log> log_;
  Log::Turn turn_;  ///< Ours from an operation's begin to its event.
  std::uint32_t vcpus_;
  DomId domain_;
  std::uint64_t begun_ = 0, excluded_ = 0;  ///< Of the operation under way.
  std::uint64_t entered_time_ = 0;
  pvmmu::TraceEvent entered_;
  bool entered_told_ = true;
};

}  // namespace pinfold::trace
