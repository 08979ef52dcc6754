// Each process keeps its x87, SSE, AVX and AVX-512 registers while other processes with other values run.
#define _GNU_SOURCE
#include <cpuid.h>
#include <math.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum { processes = 4, rounds = 1500 };

// A round gives up the processor in one of two ways: by sched_yield, or by computing until it is interrupted.
static long pause_number(int round) { return round % 8 ? SYS_sched_yield : -1; }

// The pause: the middle of an asm block that loads registers before it and stores them after it. A system
// call if rax is its number, otherwise an empty loop that is long enough to be interrupted sometimes.
// clang-format off
#define PAUSE                \
  "test %%rax, %%rax\n"      \
  "js 1f\n"                  \
  "syscall\n"                \
  "jmp 2f\n"                 \
  "1: mov $200000, %%ecx\n"  \
  "3: dec %%ecx\n"           \
  "jnz 3b\n"                 \
  "2:\n"
// clang-format on

// Distinct values for each process, round, register and lane.
static void fill(uint64_t* values, size_t count, int process, int round) {
  for (size_t i = 0; i < count; ++i)
    values[i] = ((uint64_t)(process + 1) << 56) ^ ((uint64_t)round << 32) ^ (i * 0x01010101u);
}

// XCR0, or 0 when the operating system has not enabled XSAVE.
static uint64_t enabled_state(void) {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return 0;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (uint64_t)edx << 32 | eax;
}

static bool have_avx(void) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_AVX) && (enabled_state() & 6) == 6;
}

static bool have_avx512(void) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & bit_AVX512F) &&
         (enabled_state() & 0xe6) == 0xe6;
}

static int hammer_x87(int process) {
  for (int round = 0; round < rounds; ++round) {
    double in[4], out[4];
    for (int i = 0; i < 4; ++i) in[i] = (process + 1) * 1000.0 + round + i / 8.0;
    // The rounding mode is a part of the state. Each process has another one.
    uint16_t control_in = (uint16_t)(0x37f | process << 10), control_out;
    uint32_t mxcsr_in = 0x1f80u | (uint32_t)process << 13, mxcsr_out;
    long number = pause_number(round);
    asm volatile(
        "fninit; fldcw %[ci]; ldmxcsr %[mi]\n"
        "fldl (%[in]); fldl 8(%[in]); fldl 16(%[in]); fldl 24(%[in])\n" PAUSE
        "fstpl 24(%[out]); fstpl 16(%[out]); fstpl 8(%[out]); fstpl (%[out])\n"
        "fnstcw %[co]; stmxcsr %[mo]; fninit\n"
        : "+a"(number), [co] "=m"(control_out), [mo] "=m"(mxcsr_out)
        : [ci] "m"(control_in), [mi] "m"(mxcsr_in), [in] "r"(in), [out] "r"(out)
        : "rcx", "r11", "memory", "cc");
    asm volatile("ldmxcsr %0" ::"m"((uint32_t){0x1f80}));
    if (memcmp(in, out, sizeof in) != 0) return 1;
    if (control_in != control_out || (mxcsr_in & 0xe000) != (mxcsr_out & 0xe000)) return 2;
  }
  return 0;
}

// clang-format off
#define LOAD(move, reg, n, width) move " " #n "*" #width "(%[in]), %%" reg #n "\n"
#define STORE(move, reg, n, width) move " %%" reg #n ", " #n "*" #width "(%[out])\n"
#define SIXTEEN(each, move, reg, width)                                                                   \
  each(move, reg, 0, width) each(move, reg, 1, width) each(move, reg, 2, width) each(move, reg, 3, width) \
  each(move, reg, 4, width) each(move, reg, 5, width) each(move, reg, 6, width) each(move, reg, 7, width) \
  each(move, reg, 8, width) each(move, reg, 9, width) each(move, reg, 10, width)                          \
  each(move, reg, 11, width) each(move, reg, 12, width) each(move, reg, 13, width)                        \
  each(move, reg, 14, width) each(move, reg, 15, width)
#define XMM_CLOBBERS                                                                                 \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",  \
      "xmm12", "xmm13", "xmm14", "xmm15"
// clang-format on

static int hammer_sse(int process) {
  uint64_t in[16 * 2], out[16 * 2];
  for (int round = 0; round < rounds; ++round) {
    fill(in, 16 * 2, process, round);
    long number = pause_number(round);
    asm volatile(SIXTEEN(LOAD, "movups", "xmm", 16) PAUSE SIXTEEN(STORE, "movups", "xmm", 16)
                 : "+a"(number)
                 : [in] "r"(in), [out] "r"(out)
                 : "rcx", "r11", "memory", "cc", XMM_CLOBBERS);
    if (memcmp(in, out, sizeof in) != 0) return 1;
  }
  return 0;
}

__attribute__((target("avx"))) static int hammer_avx(int process) {
  uint64_t in[16 * 4], out[16 * 4];
  for (int round = 0; round < rounds; ++round) {
    fill(in, 16 * 4, process, round);
    long number = pause_number(round);
    asm volatile(SIXTEEN(LOAD, "vmovups", "ymm", 32) PAUSE SIXTEEN(STORE, "vmovups", "ymm", 32) "vzeroupper\n"
                 : "+a"(number)
                 : [in] "r"(in), [out] "r"(out)
                 : "rcx", "r11", "memory", "cc", XMM_CLOBBERS);
    if (memcmp(in, out, sizeof in) != 0) return 1;
  }
  return 0;
}

// The registers that AVX does not have: zmm16 to zmm31, and the masks.
// clang-format off
#define HIGH(each)                                                                                      \
  each(16, 0) each(17, 1) each(18, 2) each(19, 3) each(20, 4) each(21, 5) each(22, 6) each(23, 7)       \
  each(24, 8) each(25, 9) each(26, 10) each(27, 11) each(28, 12) each(29, 13) each(30, 14) each(31, 15)
#define LOAD_HIGH(reg, slot) "vmovdqu64 " #slot "*64(%[in]), %%zmm" #reg "\n"
#define STORE_HIGH(reg, slot) "vmovdqu64 %%zmm" #reg ", " #slot "*64(%[out])\n"
// clang-format on

__attribute__((target("avx512f"))) static int hammer_avx512(int process) {
  uint64_t in[16 * 8], out[16 * 8];
  for (int round = 0; round < rounds; ++round) {
    fill(in, 16 * 8, process, round);
    long number = pause_number(round);
    uint32_t mask_in = (uint32_t)((process + 1) << 8 | (round & 0xff)), mask_out;
    asm volatile("kmovw %[ki], %%k3\n" HIGH(LOAD_HIGH) PAUSE HIGH(STORE_HIGH) "kmovw %%k3, %[ko]\n"
                 : "+a"(number), [ko] "=&r"(mask_out)
                 : [in] "r"(in), [out] "r"(out), [ki] "r"(mask_in)
                 : "rcx", "r11", "memory", "cc", "k3", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21",
                   "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
    if (memcmp(in, out, sizeof in) != 0) return 1;
    if ((mask_in & 0xffff) != (mask_out & 0xffff)) return 2;
  }
  return 0;
}

static bool hammer(int (*body)(int)) {
  return in_processes(processes, body) && holds("%d processes, %d rounds", processes, rounds);
}

bool check_x87(void) { return hammer(hammer_x87); }
bool check_sse(void) { return hammer(hammer_sse); }
bool check_avx(void) { return have_avx() ? hammer(hammer_avx) : holds("not available"); }
bool check_avx512(void) { return have_avx512() ? hammer(hammer_avx512) : holds("not available"); }
