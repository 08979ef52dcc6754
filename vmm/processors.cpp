#include "vmm/processors.hpp"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace pinfold::vmm {

Processors Processors::of_this_thread() {
  Processors own;
  // Not through cpu_set_t: it ends at 1024 processors, and the call fails on hosts that may have more.
  (void)::syscall(SYS_sched_getaffinity, 0, sizeof own.words_, own.words_.data());
  return own;
}

bool Processors::bind_this_thread() const {
  return ::syscall(SYS_sched_setaffinity, 0, sizeof words_, words_.data()) == 0;
}

void Processors::add(const Processors& others) {
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= others.words_[i];
}

std::optional<unsigned> Processors::first_outside(const Processors& others) const {
  for (unsigned number = 0; number < most; ++number)
    if (has(number) && !others.has(number)) return number;
  return std::nullopt;
}

std::string Processors::text() const {
  std::string list;
  for (unsigned first = 0; first < most; ++first) {
    if (!has(first)) continue;
    unsigned last = first;
    while (last + 1 < most && has(last + 1)) ++last;
    const char* comma = list.empty() ? "" : ",";
    list += first == last ? fmt::format("{}{}", comma, first) : fmt::format("{}{}-{}", comma, first, last);
    first = last;
  }
  return list;
}

Binding::Binding(const Processors& to) {
  if (!to.bind_this_thread())
    throw std::system_error(errno, std::generic_category(), "processors " + to.text());
}

Binding::~Binding() { (void)before_.bind_this_thread(); }

}  // namespace pinfold::vmm
