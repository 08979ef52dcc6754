// The errors that refusals give (xen/errno.h), negative as RAX holds them.
#pragma once

namespace kit {

inline constexpr long eperm = -1, esrch = -3, enoexec = -8, efault = -14, ebusy = -16, einval = -22,
                      enosys = -38, eopnotsupp = -95;

}  // namespace kit
