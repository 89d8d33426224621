/*
 * The worker of the benchmark, which all programs run, and small helpers that must not wait for Python.
 * Each event is a line "EVENT PID GENERATION NANOSECONDS" in the fifo that $STAMPS names. The time is taken
 * before the line is written, so that the reader of the fifo is not measured.
 *
 *	worker				writes "start" with its first instruction, announces that it is ready
 *					if this is asked for ("ready"), answers on its first socket, and ends
 *					on TERM ("term")
 *	worker --exec PROGRAM ...	writes "exec" in the process that becomes PROGRAM, and "gone" when this
 *					process has ended
 *	worker --ask PORT		connects until there is an answer, and then writes "answer"
 *	worker --load PORT MILLISECONDS CLIENTS
 *					prints the number of requests, the worst latency in nanoseconds, and the
 *					number of requests without an answer
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fifo = -1;

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void stamp(const char *event, long pid, long long time)
{
	const char *generation = getenv("SERVER_STARTER_GENERATION");
	char line[128];
	int n = snprintf(line, sizeof line, "%s %ld %s %lld\n", event, pid, generation ? generation : "0", time);

	/* A line is shorter than PIPE_BUF, so lines of several processes do not mix. */
	if (write(fifo, line, n) != n)
		_exit(1);
}

static void end(int signal)
{
	long long time = now();

	(void)signal;
	stamp("term", getpid(), time);
	_exit(0);
}

/* Announces that the worker is ready: by a newline as for s6, and by a datagram as for systemd. */
static void say_ready(void)
{
	static const char word[] = "READY=1";
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	const char *number = getenv("SERVER_STARTER_READY_FD");
	const char *path = getenv("NOTIFY_SOCKET");
	long long time = now();

	if (number && write(atoi(number), "\n", 1) == 1)
		stamp("ready", getpid(), time);
	if (path && strlen(path) < sizeof to.sun_path) {
		strcpy(to.sun_path, path);
		sendto(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), word, sizeof word - 1, 0,
		    (struct sockaddr *)&to, sizeof to);
	}
}

static int serve(void)
{
	static const char answer[] = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
	const char *sockets = getenv("SERVER_STARTER_PORT");
	char request[4096];
	int connection;

	say_ready();
	if (!sockets || !strchr(sockets, '='))
		for (;;)
			pause();
	for (;;) {
		if ((connection = accept(atoi(strchr(sockets, '=') + 1), NULL, NULL)) < 0)
			return 1;
		if (read(connection, request, sizeof request) < 0 || write(connection, answer, sizeof answer - 1) < 0)
			return 1;
		close(connection);
	}
}

static int execute(char **command)
{
	struct sched_param first = { .sched_priority = 1 };
	int status = 0;
	pid_t pid;

	/*
	 * Real-time priority, where it is allowed, keeps other load on the machine out of the measurement. The
	 * function of the C library is for threads or does nothing, depending on the library.
	 */
	syscall(SYS_sched_setscheduler, 0, SCHED_RR, &first);
	pid = fork();
	if (pid == 0) {
		/* This setting survives execve. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		stamp("exec", getpid(), now());
		close(fifo);
		execvp(*command, command);
		perror(*command);
		_exit(127);
	}
	/* A process ends, for this purpose, when its parent can know it. */
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	stamp("gone", pid, now());
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Returns whether there was an answer. */
static int ask(int port)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval patience = { .tv_sec = 10 };
	static char answer[65536];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n;
	int ok;

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	ok = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
	    write(fd, request, sizeof request - 1) == sizeof request - 1 &&
	    (n = read(fd, answer, sizeof answer)) > 12 && memcmp(answer + 9, "200", 3) == 0;
	while (ok && (n = read(fd, answer, sizeof answer)) != 0)
		ok = n > 0;
	close(fd);
	return ok;
}

static int load(int port, long long milliseconds, int clients)
{
	long long end = now() + milliseconds * 1000000;
	int i;

	for (i = 0; i < clients; i++)
		if (fork() == 0) {
			long long worst = 0, began, ended;
			long count = 0, lost = 0;
			do {
				began = now();
				if (ask(port))
					count++;
				else
					lost++;
				ended = now();
				if (worst < ended - began)
					worst = ended - began;
			} while (ended < end);
			printf("%ld %lld %ld\n", count, worst, lost);
			fflush(stdout);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	return 0;
}

int main(int count, char **words)
{
	long long began = now();
	const char *path = getenv("STAMPS");
	sigset_t none;

	if (count == 5 && !strcmp(words[1], "--load"))
		return load(atoi(words[2]), atoll(words[3]), atoi(words[4]));
	if (!path || (fifo = open(path, O_WRONLY | O_CLOEXEC)) < 0)
		return 1;
	/* The helpers never outlive the benchmark, and the programs that they execute never outlive the helpers. */
	if (count > 1)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The benchmark blocked these signals during the start of this process. */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (count > 2 && !strcmp(words[1], "--exec"))
		return execute(words + 2);
	if (count == 3 && !strcmp(words[1], "--ask")) {
		stamp("asks", getpid(), began);
		/* It sleeps in between, so that a processor is free for the answering process. */
		prctl(PR_SET_TIMERSLACK, 1);
		while (!ask(atoi(words[2])))
			usleep(20);
		stamp("answer", getpid(), now());
		return 0;
	}
	signal(SIGTERM, end);
	stamp("start", getpid(), began);
	return serve();
}
