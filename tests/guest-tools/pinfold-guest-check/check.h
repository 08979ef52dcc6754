// Checks of what a guest's user space sees of its machine, one for each property. A check returns whether the
// property holds, and reports what it saw in a short line.
#ifndef PINFOLD_GUEST_CHECK_H
#define PINFOLD_GUEST_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { report_size = 256, page = 4096 };

// The line that a check reports.
extern char report[report_size];

// The most memory a check may fill, in MB.
extern size_t megabytes;

// Write the report. The first returns true, the second false.
__attribute__((format(printf, 1, 2))) bool holds(const char* format, ...);
__attribute__((format(printf, 1, 2))) bool fails(const char* format, ...);

// Returns from the check if the condition does not hold.
#define REQUIRE(condition, ...)                  \
  do {                                           \
    if (!(condition)) return fails(__VA_ARGS__); \
  } while (0)

// Runs body(argument) in `count` forked processes at the same time, with arguments 0 to count-1. True if all
// return 0. The report names the first that does not.
bool in_processes(int count, int (*body)(int));

// processes.c
int exec_child(int code);
bool check_fork_exec(void);
bool check_pipe(void);
// memory.c
bool check_memory(void);
bool check_copy_on_write(void);
bool check_sha256(void);
// signals.c
bool check_faults(void);
bool check_alternate_stack(void);
bool check_timer_signal(void);
// clock.c
bool check_clock(void);
void run_clock_markers(void);
// registers.c
bool check_x87(void);
bool check_sse(void);
bool check_avx(void);
bool check_avx512(void);
// threads.c
bool check_threads(void);
bool check_gs_base(void);
bool check_ldt(void);
// bases.c
bool check_bases(void);
// segments.c
bool check_compat_code(void);
bool check_ldt_code(void);
bool check_bad_selector(void);
// trace.c
bool check_single_step(void);
bool check_breakpoint(void);
// watchpoints.c
bool check_watchpoints(void);

// sha256.c: the digest of `size` bytes, as 64 hexadecimal digits and a zero.
void sha256(const void* data, size_t size, char hex[65]);
#endif
