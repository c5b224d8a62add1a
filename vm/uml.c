/*
 * Preloaded into User-Mode-Linux: mends two things in its use of ptrace.
 *
 * 1. The guest's processes are host processes held by ptrace. If User-Mode-Linux dies by SIGKILL they would be let go and run on natively,
 *    their next system calls going to the host. PTRACE_O_EXITKILL has the kernel kill them with their tracer.
 *
 * 2. The registers of a guest's process are set with PTRACE_SETREGSET from a buffer of a fixed size that is enough for AVX-512. Linux
 *    takes only buffers of exactly the size of the processor's whole state, which is larger with AMX, and the guest panics at
 *    its first process. Here the buffer is filled up with zeros, which is what the rest holds anyway: a program has
 *    AMX only after asking the kernel for it, and User-Mode-Linux does not pass such a request on.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PEEKTEXT = 1,
	PEEKUSER = 3,
	OLDSETOPTIONS = 21,
	SETOPTIONS = 0x4200,
	GETREGSET = 0x4204,
	SETREGSET = 0x4205,
	XSTATE = 0x202,
};
#define EXITKILL 0x100000UL

static char whole[1 << 16] __attribute__((aligned(64)));
static size_t whole_size;

static long set_xstate(int pid, const struct iovec *part)
{
	struct iovec all = { whole, sizeof(whole) };

	if (whole_size == 0) {
		if (syscall(SYS_ptrace, GETREGSET, pid, XSTATE, &all) < 0)
			return -1;
		whole_size = all.iov_len;
		memset(whole, 0, sizeof(whole));
	}
	if (part->iov_len >= whole_size)
		return syscall(SYS_ptrace, SETREGSET, pid, XSTATE, part);
	memcpy(whole, part->iov_base, part->iov_len);
	all.iov_len = whole_size;
	return syscall(SYS_ptrace, SETREGSET, pid, XSTATE, &all);
}

long ptrace(int request, int pid, unsigned long addr, void *data)
{
	long value;

	if (request >= PEEKTEXT && request <= PEEKUSER) {
		/* The system call stores what it read, the library's function returns it. */
		if (syscall(SYS_ptrace, request, pid, addr, &value) < 0)
			return -1;
		errno = 0;
		return value;
	}
	if (request == SETOPTIONS || request == OLDSETOPTIONS)
		return syscall(SYS_ptrace, SETOPTIONS, pid, addr, (unsigned long)data | EXITKILL);
	if (request == SETREGSET && addr == XSTATE)
		return set_xstate(pid, data);
	return syscall(SYS_ptrace, request, pid, addr, data);
}
