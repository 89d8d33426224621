/*
 * The floor of the benchmark: the smallest program that restarts a worker under sockets bound once. No
 * program can do much better on this machine. It understands the options of start_server that the benchmark
 * needs, only as --NAME=VALUE, and ignores all others. It has almost no error handling. Do not use it for
 * anything else.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char **command;
static const char *envdir;
static int ready_number = -1;
static int to_old = SIGTERM, to_all = SIGTERM;
static struct timespec interval = { .tv_sec = 1 };

/* SERVER_STARTER_PORT=..., to which each socket is appended. */
static char *sockets, *sockets_end;

static int ready = -1;
static int generation;
static sigset_t none;
static volatile sig_atomic_t hup, term, died;

static void note(int signal)
{
	if (signal == SIGHUP)
		hup = 1;
	else if (signal == SIGTERM)
		term = 1;
	else
		died = 1;
}

static void give_up(const char *what)
{
	perror(what);
	exit(1);
}

static void listen_on(int fd, const struct sockaddr *address, socklen_t size, const char *name)
{
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, address, size) || listen(fd, SOMAXCONN))
		give_up(name);
	sockets_end += sprintf(sockets_end, ";%s=%d" + (sockets_end[-1] == '='), name, fd);
}

/* Binds HOST:PORT, both numeric. */
static void bind_port(char *name)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char *colon = strrchr(name, ':');

	if (!colon)
		give_up(name);
	address.sin_port = htons(atoi(colon + 1));
	*colon = 0;
	inet_pton(AF_INET, name, &address.sin_addr);
	*colon = ':';
	listen_on(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address, name);
}

static void bind_path(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strncpy(address.sun_path, name, sizeof address.sun_path - 1);
	unlink(name);
	listen_on(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address, name);
}

/* Our variables, those of envdir and the inherited ones, in this order. The memory is used again each time. */
static char **environment(void)
{
	static char **variables, *text;
	static char numbers[2][48];
	size_t room = 1 << 20, count = 0, inherited = 0;
	char *end, *newline;
	struct dirent *entry;
	DIR *dir;
	int fd;
	ssize_t n;

	if (!text)
		text = malloc(room);
	end = text;
	while (environ[inherited])
		inherited++;
	if (!variables)
		variables = malloc((inherited + 20000) * sizeof *variables);
	sprintf(numbers[0], "SERVER_STARTER_GENERATION=%d", generation);
	sprintf(numbers[1], "SERVER_STARTER_READY_FD=%d", ready_number);
	variables[count++] = sockets;
	variables[count++] = numbers[0];
	if (ready_number >= 0)
		variables[count++] = numbers[1];
	if (envdir && (dir = opendir(envdir))) {
		while ((entry = readdir(dir)) && count < 19000 && end < text + room - 8192) {
			if (entry->d_name[0] == '.' || (fd = openat(dirfd(dir), entry->d_name, O_RDONLY)) < 0)
				continue;
			variables[count++] = end;
			end += sprintf(end, "%s=", entry->d_name);
			n = read(fd, end, 4096);
			end[n > 0 ? n : 0] = 0;
			if ((newline = strchr(end, '\n')))
				*newline = 0;
			end += strlen(end) + 1;
			close(fd);
		}
		closedir(dir);
	}
	memcpy(variables + count, environ, (inherited + 1) * sizeof *variables);
	return variables;
}

static pid_t start(void)
{
	char **variables;
	int ends[2] = { -1, -1 };
	pid_t pid;

	generation++;
	variables = environment();
	if (ready >= 0)
		close(ready);
	if (ready_number >= 0 && pipe2(ends, O_CLOEXEC))
		give_up("pipe");
	if ((pid = fork()) < 0)
		give_up("fork");
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (ready_number >= 0)
			dup2(ends[1], ready_number);
		execvpe(*command, command, variables);
		_exit(255);
	}
	if (ready_number >= 0)
		close(ends[1]);
	ready = ends[0];
	return pid;
}

static int signal_named(const char *name)
{
	return strcmp(name, "QUIT") ? SIGTERM : SIGQUIT;
}

static char *value(char *word, const char *option)
{
	size_t n = strlen(option);

	return strncmp(word, option, n) ? NULL : word + n;
}

int main(int count, char **words)
{
	struct sigaction action = { .sa_handler = note };
	pid_t current = 0, candidate, pid;
	sigset_t all;
	char *v;

	sockets_end = sockets = malloc(64 + 128 * (size_t)count);
	sockets_end += sprintf(sockets, "SERVER_STARTER_PORT=");
	for (words++; *words && strcmp(*words, "--"); words++) {
		if ((v = value(*words, "--port=")))
			bind_port(v);
		else if ((v = value(*words, "--path=")))
			bind_path(v);
		else if ((v = value(*words, "--envdir=")))
			envdir = v;
		else if ((v = value(*words, "--ready=fd=")))
			ready_number = atoi(v);
		else if ((v = value(*words, "--interval=")))
			interval.tv_sec = atoi(v);
		else if ((v = value(*words, "--signal-on-hup=")))
			to_old = signal_named(v);
		else if ((v = value(*words, "--signal-on-term=")))
			to_all = signal_named(v);
	}
	if (!*words || !words[1])
		return 1;
	command = words + 1;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGCHLD, &action, NULL);
	candidate = start();
	for (;;) {
		struct pollfd readiness = { .fd = ready, .events = POLLIN };
		int timed = candidate && ready < 0;
		int happened = ppoll(&readiness, ready >= 0, timed ? &interval : NULL, &none);

		if (term) {
			if (current)
				kill(current, to_all);
			if (candidate)
				kill(candidate, to_all);
			while (wait(NULL) > 0)
				;
			return 0;
		}
		if (happened > 0) {
			close(ready);
			ready = -1;
		}
		if (candidate && (happened > 0 || (timed && happened == 0))) {
			if (current)
				kill(current, to_old);
			current = candidate;
			candidate = 0;
		}
		if (died)
			for (died = 0; (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
				if (pid == current)
					current = 0;
				if (pid == candidate)
					candidate = 0;
			}
		if (hup || (!current && !candidate)) {
			hup = 0;
			candidate = start();
		}
	}
}
