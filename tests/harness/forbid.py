"""usage: forbid.py CALL ERROR COMMAND...
Executes a command for which a system call fails, as in a container whose seccomp filter forbids it."""
import ctypes
import errno
import os
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_..., <linux/seccomp.h>


def forbid(call: str, error: str) -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    filter_of_calls = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    number = library.seccomp_syscall_resolve_name(call.encode())
    action = ctypes.c_uint32(ERRNO | getattr(errno, error))
    if library.seccomp_rule_add(filter_of_calls, action, number, 0) != 0 or library.seccomp_load(filter_of_calls) != 0:
        sys.exit(f"{call} can't be forbidden here")


if __name__ == "__main__":
    forbid(sys.argv[1], sys.argv[2])
    os.execvp(sys.argv[3], sys.argv[3:])
