/* Hides instruction sets from a process, so that libraries choose the kernels of an older x86-64 CPU.
 *
 * scripts/tools/as_cpu.py compiles this file and loads it with LD_PRELOAD. It makes Linux fault on CPUID
 * (ARCH_SET_CPUID of arch_prctl(2)), executes the instruction in the signal handler, and clears the bits in CPUID_MASK:
 * "leaf.subleaf.register.bit" in decimal, separated by commas, where registers 0 to 3 are eax, ebx, ecx and edx. Child
 * processes inherit it with the environment.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012
#define MOST_BITS 128

struct bit { uint32_t leaf, subleaf, reg, bit; };
static struct bit masked[MOST_BITS];
static int count;
static struct sigaction chained;
static int installed;

static int is_cpuid(const uint8_t *code) { return code[0] == 0x0f && code[1] == 0xa2; }

static void on_fault(int sig, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *code = (const uint8_t *)regs[REG_RIP];
    /* A faulting CPUID is a general protection fault, which has no address, unlike the fault of a bad pointer. */
    if (info->si_code != SI_KERNEL || !is_cpuid(code)) {
        if (chained.sa_flags & SA_SIGINFO) { chained.sa_sigaction(sig, info, context); return; }
        if (chained.sa_handler == SIG_IGN) return;
        if (chained.sa_handler != SIG_DFL) { chained.sa_handler(sig); return; }
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
        return;
    }
    uint32_t leaf = regs[REG_RAX], subleaf = regs[REG_RCX], out[4];
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
    syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
    for (int i = 0; i < count; i++)
        if (masked[i].leaf == leaf && masked[i].subleaf == subleaf) out[masked[i].reg] &= ~(1u << masked[i].bit);
    regs[REG_RAX] = out[0];
    regs[REG_RBX] = out[1];
    regs[REG_RCX] = out[2];
    regs[REG_RDX] = out[3];
    regs[REG_RIP] += 2;
}

/* Other code (Python's faulthandler) may also handle SIGSEGV. Its handler is called for all faults but CPUID. */
int sigaction(int sig, const struct sigaction *new, struct sigaction *old) {
    static int (*real)(int, const struct sigaction *, struct sigaction *);
    if (!real) real = dlsym(RTLD_NEXT, "sigaction");
    if (sig != SIGSEGV || !installed) return real(sig, new, old);
    if (old) *old = chained;
    if (new) chained = *new;
    return 0;
}

__attribute__((constructor)) static void mask_cpuid(void) {
    const char *text = getenv("CPUID_MASK");
    int read = 0;
    while (text && *text && count < MOST_BITS) {
        struct bit *bit = &masked[count];
        if (sscanf(text, "%u.%u.%u.%u%n", &bit->leaf, &bit->subleaf, &bit->reg, &bit->bit, &read) != 4) break;
        count++;
        text += read + (text[read] == ',');
    }
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &action, &chained);
    installed = 1;
    if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) != 0) {
        perror("this machine cannot hide instruction sets (arch_prctl ARCH_SET_CPUID)");
        _exit(125);
    }
}
