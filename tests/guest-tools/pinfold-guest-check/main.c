// usage: pinfold-guest-check [-m MB] [NAME...] Runs the named checks, or all that every guest passes. Prints
// `check NAME: ok ...` or `check NAME: FAILED ...` for each, and exits with 0 if all hold. -m: the memory
// that they use; with less than 100 MB they start fewer processes, too. NAME `clock-markers` prints lines by
// which the host measures the guest's clock.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

char report[report_size];
size_t megabytes;

struct check {
  const char* name;
  bool (*run)(void);
};

static const struct check checks[] = {
    {"fork-exec", check_fork_exec},
    {"memory", check_memory},
    {"copy-on-write", check_copy_on_write},
    {"sha256", check_sha256},
    {"faults", check_faults},
    {"alternate-stack", check_alternate_stack},
    {"timer-signal", check_timer_signal},
    {"clock", check_clock},
    {"x87", check_x87},
    {"sse", check_sse},
    {"avx", check_avx},
    {"avx512", check_avx512},
    {"pipe", check_pipe},
    {"threads", check_threads},
    {"gs-base", check_gs_base},
    {"bases", check_bases},
    {"single-step", check_single_step},
    {"breakpoint", check_breakpoint},
};
enum { check_count = sizeof checks / sizeof *checks };

// These run only when they are named. They need a processor that loads segments from the guest's own tables,
// or the guest's debug registers; a KVM that runs guests de-privileged does not do that.
static const struct check named_checks[] = {
    {"ldt", check_ldt},
    {"compat-code", check_compat_code},
    {"ldt-code", check_ldt_code},
    {"bad-selector", check_bad_selector},
    {"watchpoints", check_watchpoints},
};

static bool vreport(bool verdict, const char* format, va_list arguments) {
  vsnprintf(report, sizeof report, format, arguments);
  return verdict;
}

bool holds(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  bool verdict = vreport(true, format, arguments);
  va_end(arguments);
  return verdict;
}

bool fails(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  bool verdict = vreport(false, format, arguments);
  va_end(arguments);
  return verdict;
}

bool in_processes(int count, int (*body)(int)) {
  pid_t children[16];
  REQUIRE(count <= 16, "%d processes", count);
  for (int i = 0; i < count; ++i) {
    children[i] = fork();
    REQUIRE(children[i] >= 0, "fork: %m");
    if (children[i] == 0) _exit(body(i));
  }
  bool verdict = true;
  for (int i = 0; i < count; ++i) {
    int status = 0;
    if (waitpid(children[i], &status, 0) != children[i]) verdict = fails("waitpid: %m");
    if (verdict && status != 0) verdict = fails("process %d ended with status 0x%x", i, (unsigned)status);
  }
  return verdict;
}

static bool run(const struct check* check) {
  strcpy(report, "");
  bool verdict = check->run();
  printf("check %s: %s%s%s\n", check->name, verdict ? "ok" : "FAILED", *report ? " " : "", report);
  fflush(stdout);
  return verdict;
}

// Half of the free memory, at most 200 MB. The rest is for page tables and the kernel.
static size_t default_megabytes(void) {
  size_t free_mb = (size_t)sysconf(_SC_AVPHYS_PAGES) * page >> 20;
  return free_mb / 2 < 200 ? free_mb / 2 : 200;
}

static bool run_named(const char* name) {
  if (strcmp(name, "clock-markers") == 0) {
    run_clock_markers();
    return true;
  }
  for (size_t i = 0; i < check_count; ++i)
    if (strcmp(checks[i].name, name) == 0) return run(&checks[i]);
  for (size_t i = 0; i < sizeof named_checks / sizeof *named_checks; ++i)
    if (strcmp(named_checks[i].name, name) == 0) return run(&named_checks[i]);
  printf("check %s: FAILED no such check\n", name);
  return false;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "--child") == 0) return exec_child(atoi(argv[2]));
  megabytes = default_megabytes();
  for (int option; (option = getopt(argc, argv, "m:")) != -1;) {
    if (option != 'm') return 2;
    megabytes = (size_t)atol(optarg);
  }
  bool all = true;
  for (int i = optind; i < argc; ++i) all &= run_named(argv[i]);
  if (optind == argc)
    for (size_t i = 0; i < check_count; ++i) all &= run(&checks[i]);
  return all ? 0 : 1;
}
