/*
 * This library is preloaded into User-Mode-Linux and corrects two things in its use of ptrace.
 *
 * 1. The processes of the guest are host processes that are controlled through ptrace. If User-Mode-Linux is killed by SIGKILL, the
 *    kernel would release them, and their next system calls would go to the host. PTRACE_O_EXITKILL makes the kernel kill them
 *    together with their tracer.
 *
 * 2. User-Mode-Linux sets the registers of a process with PTRACE_SETREGSET, from a buffer whose fixed size is enough for AVX-512.
 *    Linux accepts only a buffer of exactly the size of the processor's whole state, which is larger with AMX, and the guest panics
 *    at its first process. Here the buffer is extended with zeros, which is what the rest contains anyway: a program gets AMX only
 *    by asking the kernel for it, and User-Mode-Linux does not pass such a request on.
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
		/* The system call stores the value that it reads; the function of the library returns it. */
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
