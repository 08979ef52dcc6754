#include "sandbox/privileges.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

namespace pinfold::sandbox {
namespace {

/// The bounding set: what an executed program could get. Without CAP_SETPCAP there is nothing to give up.
void empty_bounding_set() {
  unsigned long capability = 0;
  while (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
    ++capability;  // the last one is followed by none
}

int empty_sets() {
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  return ::syscall(SYS_capset, &header, none.data()) == 0 ? 0 : errno;
}

}  // namespace

int become_user(const User& user) {
  const pid_t parent = ::getppid();
  int signal = 0;
  (void)::prctl(PR_GET_PDEATHSIG, &signal, 0, 0, 0);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(user.group, user.group, user.group) != 0 ||
      ::setresuid(user.user, user.user, user.user) != 0)
    return errno;
  // The kernel forgets the signal when the user changes (prctl(2)). The parent may have died before it is set
  // again.
  if (::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(signal), 0, 0, 0) != 0) return errno;
  if (signal != 0 && ::getppid() != parent) ::raise(signal);
  return 0;
}

int drop_privileges() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  empty_bounding_set();
  return empty_sets();
}

bool close_all_but(int kept) {
  const auto number = static_cast<unsigned>(kept);
  return (number == 0 || ::close_range(0, number - 1, 0) == 0) && ::close_range(number + 1, ~0U, 0) == 0;
}

}  // namespace pinfold::sandbox
