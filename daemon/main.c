// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blobcached: fetches what the blobcache kernel module asks for.
 *
 * The main thread waits for the kernel's events, signals and a timer, and
 * makes jobs of requests; the threads of pool.c do the work. Nothing needs to
 * be put in order at exit: the release of /dev/blobcache/control returns all claimed
 * requests to the kernel's list.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "config.h"
#include "fetch.h"
#include "flush/flush.h"
#include "kernel.h"
#include "log.h"
#include "pool.h"
#include "resolve.h"
#include "store/http.h"
#include "util.h"
#include "volumes.h"

#ifndef BLOBCACHE_VERSION
#define BLOBCACHE_VERSION	"unknown"
#endif

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER	57
#endif

#define TICK_MAX_MS	1000
#define TICK_MIN_MS	30
#define DUMP_MS		3000		/* safety net: no request waits longer unseen */
#define DUMP_SOON_MS	50
#define DUMP_DIRTY_MS	10000		/* likewise; what was removed is not announced */
#define WAIT_POLL_MS	200
#define STOP_MS		500

struct options {
	const char *config;
	bool foreground;
	bool verbose;
	bool check;
	int wait_s;			/* 0 = no, -1 = for ever */
};

struct daemon {
	struct options options;
	struct bc_config *config;
	struct bc_volumes *volumes;
	struct bc_kernel *kernel;
	struct bc_pool *pool;
	struct bc_flush *flush;
	int epoll;
	int signals;
	int timer;
	int ready;			/* pipe to the parent that waits, or -1 */
	int64_t dump_at_ms;
	int64_t dump_dirty_at_ms;
	unsigned int tick_ms;
	bool stop;
};

static const char usage[] =
	"usage: blobcached [-c FILE] [-f] [-v] [--wait[=SECONDS]]\n"
	"       blobcached [-c FILE] --check-config\n"
	"\n"
	"Fetches what the blobcache kernel module asks for from Azure Blob or a\n"
	"directory. Goes to the background once it serves, unless -f is given.\n"
	"\n"
	"  -c, --config=FILE     configuration (default " BC_CONFIG_PATH ")\n"
	"  -f, --foreground      stay, and log to standard error instead of syslog\n"
	"  -v, --verbose         log each request to a store\n"
	"      --wait[=SECONDS]  wait until the module is loaded and no other\n"
	"                        blobcached runs; without SECONDS as long as it takes\n"
	"      --check-config    check the configuration and the files it names\n"
	"  -h, --help            this text\n"
	"  -V, --version         the version\n"
	"\n"
	"Signals: HUP reads the configuration again, TERM and INT end the daemon.\n"
	"Exit codes: 0 ended by a signal; 64 usage; 69 no module, or another daemon\n"
	"runs; 70 other failure; 77 not root; 78 bad configuration.\n"
	"See blobcached(8) and blobcached.json(5).\n";

enum {
	OPTION_CHECK = 256,
	OPTION_WAIT,
};

static const struct option long_options[] = {
	{ "config",		required_argument,	NULL, 'c' },
	{ "foreground",		no_argument,		NULL, 'f' },
	{ "verbose",		no_argument,		NULL, 'v' },
	{ "wait",		optional_argument,	NULL, OPTION_WAIT },
	{ "check-config",	no_argument,		NULL, OPTION_CHECK },
	{ "help",		no_argument,		NULL, 'h' },
	{ "version",		no_argument,		NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

static int parse_seconds(const char *text)
{
	char *end;
	long value;

	if (!text)
		return -1;
	value = strtol(text, &end, 10);
	if (*end || end == text || value < 1 || value > 86400) {
		fprintf(stderr, "blobcached: --wait takes 1 to 86400 seconds, not '%s'\n", text);
		exit(EX_USAGE);
	}
	return (int)value;
}

static void parse_options(int argc, char **argv, struct options *options)
{
	int option;

	*options = (struct options){ .config = BC_CONFIG_PATH };
	while ((option = getopt_long(argc, argv, "c:fvhV", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config = optarg;
			break;
		case 'f':
			options->foreground = true;
			break;
		case 'v':
			options->verbose = true;
			break;
		case OPTION_WAIT:
			options->wait_s = parse_seconds(optarg);
			break;
		case OPTION_CHECK:
			options->check = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("blobcached " BLOBCACHE_VERSION);
			exit(0);
		default:
			fputs("Try: blobcached --help\n", stderr);
			exit(EX_USAGE);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "blobcached: unexpected argument '%s'\nTry: blobcached --help\n",
			argv[optind]);
		exit(EX_USAGE);
	}
}

static bool load_config(const char *path, struct bc_config **config,
			struct bc_volumes **volumes)
{
	char text[1024];

	*config = bc_config_load(path, text, sizeof(text));
	if (!*config) {
		bc_error("%s", text);
		return false;
	}
	*volumes = bc_volumes_create(*config, text, sizeof(text));
	if (*volumes)
		return true;
	bc_error("%s: %s", path, text);
	bc_config_free(*config);
	*config = NULL;
	return false;
}

static void add_poll(struct daemon *daemon, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(daemon->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Blocked before any thread starts, so that all threads inherit it. */
static bool open_signals(struct daemon *daemon)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return false;
	daemon->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return daemon->signals >= 0;
}

static bool open_loop(struct daemon *daemon)
{
	daemon->epoll = epoll_create1(EPOLL_CLOEXEC);
	daemon->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (!open_signals(daemon) || daemon->epoll < 0 || daemon->timer < 0) {
		bc_error("cannot set up the main loop: %s", strerror(errno));
		return false;
	}
	add_poll(daemon, daemon->signals);
	add_poll(daemon, daemon->timer);
	return true;
}

/*
 * A fault of the daemon's own memory must not wait for writeback that in turn
 * waits for the daemon. The kernel checks the first at HELLO.
 */
static void prepare_process(void)
{
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0))
		bc_warn("cannot become an I/O flusher: %s; CAP_SYS_RESOURCE is needed",
			strerror(errno));
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		bc_warn("cannot lock memory: %s; under memory pressure reads may be slow",
			strerror(errno));
}

static void refuse(struct daemon *daemon, const struct bc_request *request, const char *text)
{
	char source[1100];

	bc_warn_limited("no store for source '%s' of a mount: in %s %s, then: systemctl reload blobcached",
			bc_escape(source, sizeof(source), request->source),
			daemon->options.config, text);
	if (request->kind == BC_REQUEST_RESOLVE)
		bc_kernel_resolve_reply(daemon->kernel, request->id, BC_DONE_UNSUPPORTED, NULL);
	else
		bc_kernel_done(daemon->kernel, request->id, BC_DONE_UNSUPPORTED, 0);
}

/*
 * At once, not when a thread has room: who leaves a request unclaimed for the
 * time of a lease is taken for dead. The pool renews it while it is queued.
 */
static bool claim(struct daemon *daemon, const struct bc_request *request)
{
	int error;

	if (request->kind != BC_REQUEST_FETCH)
		return true;
	error = bc_kernel_claim(daemon->kernel, request->id);
	if (error && error != -ENOENT && error != -EBUSY)
		bc_warn_limited("request %llu: the kernel refused a claim: %s",
				(unsigned long long)request->id, strerror(-error));
	return !error;
}

static void on_request(struct bc_request *request, void *context)
{
	struct daemon *daemon = context;
	struct bc_store *store;
	struct bc_job *job;
	char text[512];

	/* One that is a job may be announced again, more urgent than before. */
	if (daemon->stop || bc_pool_has(daemon->pool, request) ||
	    request->state != BC_REQUEST_NEW || !claim(daemon, request))
		return;
	store = bc_volumes_find(daemon->volumes, request->source, text, sizeof(text));
	if (!store) {
		refuse(daemon, request, text);
		return;
	}
	if (request->kind == BC_REQUEST_RESOLVE)
		job = bc_resolve_create(daemon->pool, request, store);
	else
		job = bc_fetch_create(daemon->pool, request, store);
	if (job)
		bc_pool_add(daemon->pool, job);
	else
		bc_store_put(store);	/* no memory: the lease runs out, or who asked gives up */
}

static void arm_timer(struct daemon *daemon, int64_t ms)
{
	struct itimerspec spec = {
		.it_value = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 },
		.it_interval = {
			.tv_sec = daemon->tick_ms / 1000,
			.tv_nsec = daemon->tick_ms % 1000 * 1000000L,
		},
	};

	timerfd_settime(daemon->timer, 0, &spec, NULL);
}

static void dump(struct daemon *daemon)
{
	bool complete = bc_kernel_dump(daemon->kernel, on_request, daemon);
	int64_t delay = complete ? DUMP_MS : DUMP_SOON_MS;

	daemon->dump_at_ms = bc_now_ms() + delay;
	if (!complete)
		arm_timer(daemon, delay);
}

static void on_dirty(struct bc_dirty_told *told, void *context)
{
	struct daemon *daemon = context;
	struct bc_store *store;
	char text[512];

	if (daemon->stop)
		return;
	store = bc_volumes_find(daemon->volumes, told->source, text, sizeof(text));
	bc_flush_tell(daemon->flush, told, store, text);
}

static struct bc_store *find_store(const char *source, const char *device, void *context)
{
	struct daemon *daemon = context;
	char text[512];

	if (!bc_kernel_has_tier(daemon->kernel, device))
		return NULL;
	return bc_volumes_find(daemon->volumes, source, text, sizeof(text));
}

static void dump_dirty(struct daemon *daemon)
{
	bool complete;

	bc_flush_round_begin(daemon->flush);
	complete = bc_kernel_dump_dirty(daemon->kernel);
	bc_flush_round_end(daemon->flush, complete);
	daemon->dump_dirty_at_ms = bc_now_ms() + (complete ? DUMP_DIRTY_MS : 0);
}

static void on_events(struct daemon *daemon)
{
	if (bc_kernel_read_events(daemon->kernel, on_request, daemon))
		return;
	bc_debug("events were lost; listing the requests and dirty files");
	dump(daemon);
	dump_dirty(daemon);
}

static void on_timer(struct daemon *daemon)
{
	uint64_t count;

	if (read(daemon->timer, &count, sizeof(count)) < 0)
		return;
	sd_notify(0, "WATCHDOG=1");
	bc_pool_renew(daemon->pool);
	if (bc_pool_lost(daemon->pool) || bc_now_ms() >= daemon->dump_at_ms)
		dump(daemon);
	if (bc_now_ms() >= daemon->dump_dirty_at_ms)
		dump_dirty(daemon);
}

static void reload(struct daemon *daemon)
{
	struct bc_volumes *volumes;
	struct bc_config *config;

	sd_notify(0, "RELOADING=1");
	if (load_config(daemon->options.config, &config, &volumes)) {
		bc_volumes_free(daemon->volumes);
		bc_config_free(daemon->config);
		daemon->volumes = volumes;
		daemon->config = config;
		bc_pool_configure(daemon->pool, &config->fetch);
		bc_flush_configure(daemon->flush, &config->flush);
		dump_dirty(daemon);
		bc_note("configuration read again: %zu volumes", config->volume_count);
	} else {
		bc_warn("the old configuration stays in use");
	}
	sd_notify(0, "READY=1");
}

static void on_signal(struct daemon *daemon)
{
	struct signalfd_siginfo info;

	while (read(daemon->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			reload(daemon);
			continue;
		}
		bc_note("ending on signal %u", info.ssi_signo);
		daemon->stop = true;
	}
}

static void run_loop(struct daemon *daemon)
{
	struct epoll_event events[8];

	while (!daemon->stop) {
		int count = epoll_wait(daemon->epoll, events, BC_COUNT(events), -1);
		int i;

		for (i = 0; i < count && !daemon->stop; i++) {
			if (events[i].data.fd == daemon->signals)
				on_signal(daemon);
			else if (events[i].data.fd == daemon->timer)
				on_timer(daemon);
			else
				on_events(daemon);
		}
	}
}

/* Also ends when a signal comes that would end the daemon. */
static bool sleep_unless_signal(struct daemon *daemon, int ms)
{
	struct epoll_event event;
	int64_t until = bc_now_ms() + ms;

	while (bc_now_ms() < until && !daemon->stop)
		if (epoll_wait(daemon->epoll, &event, 1, ms) > 0 &&
		    event.data.fd == daemon->signals) {
			struct signalfd_siginfo info;

			if (read(daemon->signals, &info, sizeof(info)) == sizeof(info))
				daemon->stop = info.ssi_signo != SIGHUP;
		}
	return !daemon->stop;
}

static int exit_code(int error)
{
	switch (-error) {
	case ENODEV:
	case EBUSY:
		return EX_UNAVAILABLE;
	case EPERM:
	case EACCES:
		return EX_NOPERM;
	default:
		return EX_SOFTWARE;
	}
}

static int open_kernel(struct daemon *daemon)
{
	int64_t until = bc_now_ms() + (int64_t)daemon->options.wait_s * 1000;
	bool told = false;
	char text[512];
	int error = 0;

	while (!(daemon->kernel = bc_kernel_open(&error, text, sizeof(text)))) {
		bool may_change = error == -ENODEV || error == -EBUSY;
		bool wait = daemon->options.wait_s < 0 ||
			    (daemon->options.wait_s && bc_now_ms() < until);

		if (!may_change || !wait) {
			bc_error("%s", text);
			return exit_code(error);
		}
		if (!told)
			bc_note("waiting: %s", text);
		told = true;
		if (!sleep_unless_signal(daemon, WAIT_POLL_MS))
			return EXIT_SUCCESS;
	}
	return -1;
}

static void tell_ready(struct daemon *daemon)
{
	char code = 0;

	bc_note("ready: %zu volumes, %u threads of %u connections", daemon->config->volume_count,
		daemon->config->fetch.threads, daemon->config->fetch.connections);
	sd_notify(0, "READY=1\nSTATUS=Serving");
	if (daemon->ready < 0)
		return;
	if (write(daemon->ready, &code, 1) != 1)
		bc_warn("the starting process went away");
	close(daemon->ready);
	daemon->ready = -1;
}

static void leave_terminal(void)
{
	FILE *null = freopen("/dev/null", "r+", stdin);

	if (null) {
		dup2(fileno(null), STDOUT_FILENO);
		dup2(fileno(null), STDERR_FILENO);
	}
}

static int serve(struct daemon *daemon)
{
	int code = open_kernel(daemon);

	if (code >= 0)
		return code;
	if (!daemon->options.foreground) {
		bc_log_open(false, daemon->options.verbose ? BC_DEBUG : BC_NOTE);
		leave_terminal();
	}
	daemon->pool = bc_pool_create(daemon->kernel, &daemon->config->fetch);
	daemon->flush = bc_flush_create(daemon->kernel, &daemon->config->flush, BC_FLUSH_STATE);
	if (!daemon->pool || !daemon->flush) {
		bc_error("cannot start the threads; is there a limit on memory or tasks?");
		return EX_SOFTWARE;
	}
	/* Leases of queued requests are renewed by the tick. */
	daemon->tick_ms = (unsigned int)bc_min(TICK_MAX_MS, bc_kernel_lease_ms(daemon->kernel) / 4);
	if (daemon->tick_ms < TICK_MIN_MS)
		daemon->tick_ms = TICK_MIN_MS;
	bc_kernel_set_dirty(daemon->kernel, on_dirty, daemon);
	bc_flush_set_find(daemon->flush, find_store, daemon);
	add_poll(daemon, bc_kernel_event_fd(daemon->kernel));
	arm_timer(daemon, daemon->tick_ms);
	dump(daemon);
	dump_dirty(daemon);
	tell_ready(daemon);
	run_loop(daemon);
	sd_notify(0, "STOPPING=1");
	/* A thread that hangs in a file system cannot be waited for. */
	if (!bc_flush_stop(daemon->flush, STOP_MS) || !bc_pool_stop(daemon->pool, STOP_MS))
		_exit(EXIT_SUCCESS);
	return EXIT_SUCCESS;
}

/*
 * The parent stays until the child serves or failed, so that a script may go
 * on when the command returns. Returns in the child only.
 */
static int go_to_background(void)
{
	int fds[2];
	char code = EX_SOFTWARE;
	pid_t child;

	if (pipe(fds)) {
		perror("blobcached: pipe");
		exit(EX_OSERR);
	}
	child = fork();
	if (child < 0) {
		perror("blobcached: fork");
		exit(EX_OSERR);
	}
	if (child) {
		close(fds[1]);
		if (read(fds[0], &code, 1) != 1)
			code = EX_SOFTWARE;
		_exit(code);
	}
	close(fds[0]);
	setsid();
	if (chdir("/"))
		perror("blobcached: chdir");
	return fds[1];
}

static void free_daemon(struct daemon *daemon)
{
	if (daemon->kernel)
		bc_kernel_close(daemon->kernel);
	bc_volumes_free(daemon->volumes);
	bc_config_free(daemon->config);
	close(daemon->epoll);
	close(daemon->signals);
	close(daemon->timer);
}

static int check_config(const struct daemon *daemon)
{
	printf("%s: good, %zu volumes\n", daemon->options.config, daemon->config->volume_count);
	return EXIT_SUCCESS;
}

static int run(struct daemon *daemon)
{
	int code = EX_OSERR;

	if (!daemon->options.foreground)
		daemon->ready = go_to_background();
	if (open_loop(daemon) && bc_http_init()) {
		prepare_process();
		code = serve(daemon);
	}
	/* Still open: it did not come to serve. */
	if (daemon->ready >= 0 && write(daemon->ready, &(char){ (char)code }, 1) != 1)
		bc_warn("the starting process went away");
	return code;
}

/*
 * A reload must find the configuration after chdir(). Symbolic links stay:
 * some change a configuration by changing where one points to.
 */
static char *absolute(const char *path)
{
	char *directory = *path == '/' ? NULL : getcwd(NULL, 0);
	char *whole = NULL;

	if (directory && asprintf(&whole, "%s/%s", directory, path) < 0)
		whole = NULL;
	free(directory);
	return whole;
}

int main(int argc, char **argv)
{
	struct daemon daemon = { .epoll = -1, .signals = -1, .timer = -1, .ready = -1 };
	char *path;
	int code = EX_CONFIG;

	parse_options(argc, argv, &daemon.options);
	bc_log_open(true, daemon.options.verbose ? BC_DEBUG : BC_NOTE);
	path = absolute(daemon.options.config);
	if (path)
		daemon.options.config = path;
	if (load_config(daemon.options.config, &daemon.config, &daemon.volumes))
		code = daemon.options.check ? check_config(&daemon) : run(&daemon);
	free_daemon(&daemon);
	free(path);
	return code;
}
