// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random operations on a blobcache mount, each byte checked against a model.
 *
 * usage: randops --target DIR --lower DIR --store DIR [--seed N] [--ops N] [--seconds N]
 *		  [--ttl MS] [--device PATH] [--daemon COMMAND] [--sabotage OP]
 *
 * The lower is a directory, the store another one (source file://DIR). What is written
 * through the mount is in the lower at once; this program uploads it to the store now
 * and then, and puts versions of its own there, as another node would.
 *
 * An open file has candidates: the versions that docs/consistency.md allows it to have
 * chosen, and "live", the lower file as it is at each moment. What is read must be what
 * one of them has; who does not have it is a candidate no longer. So a file that mixes
 * two versions runs out of candidates. Most opens have one candidate to begin with.
 *
 * With --daemon the program is the daemon's parent, kills it at times and goes on. An
 * open file may then have read the lower as it was (candidate), and reads may fail, but
 * not with wrong bytes. --sabotage spoils a byte behind the model's back at that operation
 * and later ones: the program must find out.
 *
 * One process, because a fork is expensive where this runs. All choices depend on the
 * seed and the model only, so that a run can be repeated with --seed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "blobcache_netlink.h"

#define PATHS		7
#define FDS		14
#define MAPS		6
#define MAY		12
#define HISTORY		6
#define LOG		120
#define CHUNK		(1U << 20)
#define SIZE_MAX_FILE	(3U * CHUNK)
#define STUCK		100		/* seconds without an operation */
#define MAP_MAX		(256U << 10)
#define PAGE		4096U

#define die(...) do { fprintf(stderr, "randops: " __VA_ARGS__); exit(2); } while (0)

/* --- the model */

struct content {
	unsigned int refs;
	size_t size;
	size_t room;
	uint8_t *bytes;
};

/* A file of the lower. */
struct file {
	struct content *now;
	unsigned int writers;		/* open files and mappings that can write it */
	bool renamed_open;		/* while it was open for writing */
	size_t before;			/* size before it changed past the mount */
	bool removed;
};

struct version {
	struct content *content;	/* NULL = the store had none */
	time_t made;			/* seconds, as Last-Modified */
	double replaced;
};

/* So long after a change past the mount it may not have been noticed: twice the mount's ttl. */
#define UNNOTICED	(2 * (ttl_ms ? ttl_ms : 50) / 1e3)

struct path {
	char name[16];
	struct file *file;		/* NULL = the name is not there */
	struct version store;
	struct version old[HISTORY];	/* the latest first */
	unsigned int changes;		/* of the store */
	bool written;			/* here, since the store's version was known to count */
	time_t written_at;
	double caught_up;		/* the lower changed past the mount, when last; 0 = never */
	double stored;			/* the store did */
};

struct candidates {
	bool live;
	unsigned int count;
	struct content *may[MAY];
};

struct open_file {
	int fd;				/* -1 = none */
	struct path *path;		/* at its opening */
	struct file *file;
	struct candidates can;
	unsigned int changes;		/* of the path, at its opening */
	bool writable;
	bool direct;
	bool chosen;			/* its version is, since it was read */
	bool loose;			/* maybe without daemon before that */
	bool bound_lower;		/* what it has of the lower may be one version, not whatever it has */
	bool same;			/* the lower had what the store had, at its opening */
	bool mapped;			/* shared, and may be written */
	bool moved;			/* renamed or removed since */
};

struct mapping {
	uint8_t *at;			/* NULL = none */
	size_t offset, length;
	struct open_file *of;		/* that may be another one by now */
	struct path *path;
	struct file *file;
	struct candidates can;
	unsigned int changes;
	bool writable, may_fail, bound_lower, same;
	bool writer;			/* keeps the lower file open for writing */
};

static struct path paths[PATHS];
static struct open_file files[FDS];
static struct mapping maps[MAPS];

static const char *target, *lower, *store, *device;
static char *daemon_command;
static uint64_t seed = 1, rng, max_ops = 20000, sabotage;
static unsigned int ttl_ms, seconds = 3600;

/* --- chance and log */

/* The watchdog sees it too. */
struct shared {
	uint64_t op;
	pid_t daemon;
	char history[LOG][120];
};

static struct shared *shared;
#define op_number (shared->op)
#define daemon_pid (shared->daemon)

static uint64_t strong_opens, opens, read_bytes, failed_reads, uploads_seen;
static uint8_t *buffer, *scratch;

static uint32_t roll(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % below;
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *format, ...)
{
	char *line = shared->history[op_number % LOG];
	size_t used = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, sizeof(shared->history[0]) - used, format, args);
	va_end(args);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_history(void)
{
	uint64_t n = op_number < LOG ? 0 : op_number - LOG + 1;

	for (; n <= op_number; n++)
		printf("  %llu:%s\n", (unsigned long long)n, shared->history[n % LOG]);
}

static void print_stacks(pid_t pid)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*; do cat $t/comm $t/stack; done 2>&1", pid);
	fflush(stdout);
	if (!pid || system(command))
		printf("  no stacks of process %d\n", pid);
}

/* Where the program, or its daemon, sits if nothing goes on. */
static void watch(pid_t program)
{
	const struct timespec second = { .tv_sec = 1 };
	uint64_t last = 0;
	unsigned int idle;

	for (idle = 0; idle < STUCK && getppid() == program; idle++) {
		nanosleep(&second, NULL);
		if (op_number != last)
			idle = 0;
		last = op_number;
	}
	if (idle < STUCK)
		_exit(0);
	print_history();
	printf("STUCK at operation %llu of seed %llu\n", (unsigned long long)op_number,
	       (unsigned long long)seed);
	print_stacks(program);
	print_stacks(daemon_pid);
	fflush(stdout);
	kill(program, SIGKILL);
	_exit(1);
}

static void start_watch(void)
{
	pid_t program = getpid();

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("out of memory\n");
	if (!fork())
		watch(program);
}

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void wrong(const char *format, ...)
{
	va_list args;

	print_history();
	printf("WRONG at operation %llu of seed %llu: ", (unsigned long long)op_number,
	       (unsigned long long)seed);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	exit(1);
}

/* --- contents */

static struct content *content_get(struct content *c)
{
	if (c)
		c->refs++;
	return c;
}

static void content_put(struct content *c)
{
	if (c && !--c->refs) {
		free(c->bytes);
		free(c);
	}
}

static struct content *content_new(size_t size)
{
	struct content *c = calloc(1, sizeof(*c));

	if (!c)
		die("out of memory\n");
	c->refs = 1;
	c->size = size;
	c->room = size + PAGE;
	c->bytes = malloc(c->room);
	if (!c->bytes)
		die("out of memory\n");
	return c;
}

static void randomize(uint8_t *at, size_t length)
{
	uint64_t s = ((uint64_t)roll(UINT32_MAX) << 32 | roll(UINT32_MAX)) | 1;

	for (; length >= 8; at += 8, length -= 8) {
		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
		memcpy(at, &s, 8);
	}
	memcpy(at, &s, length);
}

/* The content of a lower file is about to change; what others remember of it is not. */
static struct content *own(struct file *f, size_t room)
{
	struct content *c = f->now;

	if (c->refs > 1) {
		f->now = content_new(c->size);
		memcpy(f->now->bytes, c->bytes, c->size);
		content_put(c);
		c = f->now;
	}
	if (c->room < room) {
		c->bytes = realloc(c->bytes, room + CHUNK / 4);
		if (!c->bytes)
			die("out of memory\n");
		c->room = room + CHUNK / 4;
	}
	return c;
}

static void set_size(struct file *f, size_t size)
{
	struct content *c = own(f, size);

	if (size > c->size)
		memset(c->bytes + c->size, 0, size - c->size);
	c->size = size;
}

/*
 * What is done to a file costs what its size is: most are small, with few blocks, and some are of
 * more than one chunk.
 */
static size_t some_size(void)
{
	switch (roll(20)) {
	case 0:
		return roll(3);
	case 1:
		return CHUNK + roll(5) - 2;
	case 2:
		return (1 + roll(40)) * (64U << 10) + roll(3) - 1;
	case 3:
		return roll(SIZE_MAX_FILE);
	case 4:
	case 5:
	case 6:
		return (1 + roll(4)) * (64U << 10) + roll(3) - 1;
	case 7:
	case 8:
	case 9:
		return roll(300 << 10);
	default:
		return roll(64 << 10);
	}
}

/* --- candidates */

static void may_add(struct candidates *can, struct content *c)
{
	unsigned int i;

	if (!c)
		return;
	for (i = 0; i < can->count; i++)
		if (can->may[i] == c)
			return;
	if (can->count == MAY) {
		content_put(can->may[0]);
		memmove(can->may, can->may + 1, sizeof(can->may[0]) * (MAY - 1));
		can->count--;
	}
	can->may[can->count++] = content_get(c);
}

static void may_clear(struct candidates *can)
{
	while (can->count)
		content_put(can->may[--can->count]);
	can->live = false;
}

static void may_copy(struct candidates *to, const struct candidates *from)
{
	unsigned int i;

	for (i = 0; i < from->count; i++)
		may_add(to, from->may[i]);
	to->live |= from->live;
}

static bool agrees(const struct content *c, size_t offset, size_t asked, const uint8_t *got,
		   size_t length)
{
	size_t want = offset < c->size ? c->size - offset : 0;

	if (want > asked)
		want = asked;
	return want == length && !memcmp(c->bytes + offset, got, length);
}

static void explain(const char *what, const struct content *c, size_t offset, const uint8_t *got,
		    size_t length)
{
	size_t i = 0;

	while (i < length && offset + i < c->size && c->bytes[offset + i] == got[i])
		i++;
	printf("  candidate %s: %zu bytes; agrees up to byte %zu (chunk %zu, page %zu)\n", what,
	       c->size, offset + i, (offset + i) / CHUNK, (offset + i) / PAGE);
}

/* Who did not have these bytes is out. */
static void narrow(struct candidates *can, const struct file *f, size_t offset, size_t asked,
		   const uint8_t *got, size_t length, const char *what)
{
	bool live = can->live && agrees(f->now, offset, asked, got, length);
	unsigned int i, kept = 0;

	for (i = 0; i < can->count; i++)
		kept += agrees(can->may[i], offset, asked, got, length);
	if (!live && !kept) {
		if (can->live)
			explain("live", f->now, offset, got, length);
		for (i = 0; i < can->count; i++)
			explain("version", can->may[i], offset, got, length);
		wrong("%s of %zu bytes at %zu gave %zu bytes that no version has", what, asked,
		      offset, length);
	}
	can->live = live;
	for (i = 0, kept = 0; i < can->count; i++) {
		if (agrees(can->may[i], offset, asked, got, length))
			can->may[kept++] = can->may[i];
		else
			content_put(can->may[i]);
	}
	can->count = kept;
	read_bytes += length;
}

/* --- the daemon, and the module's netlink family */

static int netlink = -1;
static uint16_t family;
static uint32_t sequence;
static bool daemon_away;		/* or not known to be here */

struct message {
	struct nlmsghdr head;
	struct genlmsghdr genl;
	uint8_t attrs[512];
};

static void put_attr(struct message *m, uint16_t type, const void *value, size_t length)
{
	struct nlattr attr = { .nla_len = NLA_HDRLEN + length, .nla_type = type };
	uint8_t *at = (uint8_t *)m + NLMSG_ALIGN(m->head.nlmsg_len);

	memcpy(at, &attr, sizeof(attr));
	memcpy(at + NLA_HDRLEN, value, length);
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + NLA_ALIGN(attr.nla_len);
}

static struct message new_message(uint16_t type, uint8_t cmd)
{
	return (struct message) {
		.head = { .nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN, .nlmsg_type = type,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.genl = { .cmd = cmd, .version = 1 },
	};
}

/* Return: 0 or negative errno; the reply, if one came, in @reply. */
static int talk(struct message *m, uint8_t *reply, size_t room)
{
	static uint8_t in[16 << 10];

	m->head.nlmsg_seq = ++sequence;
	if (send(netlink, m, m->head.nlmsg_len, 0) < 0)
		die("netlink: %m\n");
	for (;;) {
		ssize_t got = recv(netlink, in, sizeof(in), 0);
		struct nlmsghdr *h = (struct nlmsghdr *)in;

		if (got < 0)
			die("netlink: %m\n");
		for (; NLMSG_OK(h, (size_t)got); h = NLMSG_NEXT(h, got)) {
			if (h->nlmsg_seq != sequence)
				continue;
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (reply)
				memcpy(reply, h, h->nlmsg_len < room ? h->nlmsg_len : room);
		}
	}
}

/* The payload of an attribute among @length bytes, or NULL. */
static const uint8_t *find_attr(const uint8_t *at, size_t length, uint16_t type, size_t *size)
{
	while (length >= NLA_HDRLEN) {
		struct nlattr attr;

		memcpy(&attr, at, sizeof(attr));
		if (attr.nla_len < NLA_HDRLEN || attr.nla_len > length)
			return NULL;
		*size = attr.nla_len - NLA_HDRLEN;
		if ((attr.nla_type & NLA_TYPE_MASK) == type)
			return at + NLA_HDRLEN;
		if ((size_t)NLA_ALIGN(attr.nla_len) > length)
			return NULL;
		at += NLA_ALIGN(attr.nla_len);
		length -= NLA_ALIGN(attr.nla_len);
	}
	return NULL;
}

static void open_netlink(void)
{
	struct message m = new_message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	uint8_t reply[1024] = { 0 };
	struct nlmsghdr *h = (struct nlmsghdr *)reply;
	const uint8_t *id;
	size_t size;

	netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (netlink < 0)
		die("netlink: %m\n");
	put_attr(&m, CTRL_ATTR_FAMILY_NAME, BC_GENL_NAME, sizeof(BC_GENL_NAME));
	if (talk(&m, reply, sizeof(reply)))
		die("no netlink family %s\n", BC_GENL_NAME);
	id = find_attr(reply + NLMSG_HDRLEN + GENL_HDRLEN,
		       h->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, CTRL_ATTR_FAMILY_ID, &size);
	if (!id)
		die("no id of the netlink family\n");
	memcpy(&family, id, sizeof(family));
}

static int ask_fd(uint8_t cmd, int fd)
{
	struct message m = new_message(family, cmd);
	uint32_t number = (uint32_t)fd;

	put_attr(&m, BC_A_FD, &number, sizeof(number));
	return talk(&m, NULL, 0);
}

static int ask_device(uint8_t cmd)
{
	struct message m = new_message(family, cmd);

	put_attr(&m, BC_A_DEVICE, device, strlen(device) + 1);
	return talk(&m, NULL, 0);
}

static uint32_t serving_daemon(void)
{
	struct message m = new_message(family, BC_CMD_STATUS_GET);
	uint8_t reply[1024] = { 0 };
	struct nlmsghdr *h = (struct nlmsghdr *)reply;
	const uint8_t *nest, *pid;
	size_t size, length;
	uint32_t number = 0;

	if (talk(&m, reply, sizeof(reply)))
		return 0;
	nest = find_attr(reply + NLMSG_HDRLEN + GENL_HDRLEN,
			 h->nlmsg_len - NLMSG_HDRLEN - GENL_HDRLEN, BC_A_STATUS, &length);
	pid = nest ? find_attr(nest, length, BC_STATUS_A_DAEMON_PID, &size) : NULL;
	if (pid)
		memcpy(&number, pid, sizeof(number));
	return number;
}

static void start_daemon(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %m\n");
	if (!pid) {
		char *argv[] = { "sh", "-c", daemon_command, NULL };

		int null = open("/dev/null", O_WRONLY);

		/* Who waits for the end of our output must not wait for the daemon's. */
		dup2(null, STDOUT_FILENO);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv("/bin/sh", argv);
		_exit(127);
	}
	/* Here only: what it is in is shared. */
	daemon_pid = pid;
}

static void await_daemon(void)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	double end = now() + 60;

	while (serving_daemon() != (uint32_t)daemon_pid) {
		if (now() > end)
			wrong("the daemon did not come up");
		nanosleep(&pause, NULL);
	}
	daemon_away = false;
}

/* --- what the model does at changes */

static void in_lower(char *to, size_t size, const struct path *p)
{
	snprintf(to, size, "%s/%s", lower, p->name);
}

static void in_target(char *to, size_t size, const struct path *p)
{
	snprintf(to, size, "%s/%s", target, p->name);
}

static struct path *path_of(const struct file *f)
{
	unsigned int i;

	for (i = 0; i < PATHS; i++)
		if (paths[i].file == f)
			return &paths[i];
	return NULL;
}

static bool in_use(const struct file *f)
{
	unsigned int i;

	for (i = 0; i < FDS; i++)
		if (files[i].fd >= 0 && files[i].file == f)
			return true;
	for (i = 0; i < MAPS; i++)
		if (maps[i].at && maps[i].file == f)
			return true;
	return path_of(f);
}

static void file_put(struct file *f)
{
	if (in_use(f))
		return;
	content_put(f->now);
	free(f);
}

/* Is it surely of the version that the store has, and not of the lower, with the same bytes? */
static bool of_store(const struct mapping *m)
{
	return !m->same && m->can.count == 1 && !m->can.live &&
	       m->can.may[0] == m->path->store.content;
}

/* A writer came through the mount: who has the file open reads the lower from now on. */
static void writer_came(const struct file *f)
{
	unsigned int i;

	for (i = 0; i < FDS; i++) {
		if (files[i].fd < 0 || files[i].file != f)
			continue;
		may_clear(&files[i].can);
		files[i].can.live = true;
		files[i].bound_lower = false;
	}
	/* Of what the lower had, no more is to be had. */
	for (i = 0; i < MAPS; i++)
		if (maps[i].at && maps[i].file == f && !of_store(&maps[i]))
			maps[i].may_fail = true;
}

/* @since: seconds before the call. */
static void file_written(const struct file *f, time_t since)
{
	struct path *p = path_of(f);

	if (p) {
		p->written = true;
		p->written_at = since;
	}
}

static void moved_away(const struct file *f, bool removed)
{
	unsigned int i;

	for (i = 0; i < FDS; i++) {
		struct open_file *of = &files[i];

		if (of->fd < 0 || of->file != f)
			continue;
		of->moved = true;
		of->can.live = true;
		/* Renamed: the lower, from its next read on. */
		if (!removed)
			may_clear(&of->can);
		of->can.live = true;
	}
	for (i = 0; i < MAPS; i++)
		if (maps[i].at && maps[i].file == f)
			maps[i].may_fail = true;
}

/* The store has another version. */
static void store_set(struct path *p, struct content *c, time_t made)
{
	unsigned int i;

	content_put(p->old[HISTORY - 1].content);
	memmove(p->old + 1, p->old, sizeof(p->old[0]) * (HISTORY - 1));
	p->old[0] = p->store;
	p->old[0].replaced = now();
	p->store = (struct version){ .content = content_get(c), .made = made };
	p->changes++;
	p->stored = now();
	/* Who has not read yet may get its version with the first byte. */
	for (i = 0; i < FDS; i++) {
		struct open_file *of = &files[i];

		if (of->fd >= 0 && of->path == p && !of->chosen && of->can.count)
			may_add(&of->can, c);
	}
}

/* What a file opened for reading now may read. */
static void choose(struct path *p, struct open_file *of, double since)
{
	struct candidates *can = &of->can;
	unsigned int i;

	opens++;
	may_clear(can);
	if (p->file->writers) {
		can->live = true;
		strong_opens++;
		return;
	}
	of->same = p->file->now == p->store.content;
	can->live = p->written || !p->store.content;
	/* The lower moved, which is noticed only now: it is read until the store has another one. */
	can->live |= p->caught_up && p->stored >= p->caught_up &&
		     p->stored - p->caught_up < UNNOTICED;
	if (!p->written || of->same || p->store.made >= p->written_at)
		may_add(can, p->store.content);
	for (i = 0; i < HISTORY; i++) {
		const struct version *v = &p->old[i];

		if (v->replaced + ttl_ms / 1e3 < since && !(daemon_away && ttl_ms))
			continue;
		if (p->written && v->made < p->written_at)
			continue;
		may_add(can, v->content);
		/* Its chunks are not to be had any more, unless they are cached. */
		of->changes = p->changes - 1;
		/* The store had none. */
		can->live |= !v->content;
	}
	of->bound_lower = can->live;
	of->loose = daemon_away;
	if (daemon_away)
		may_add(can, p->file->now);
	strong_opens += can->count + can->live == 1;
}

/* The lower changed past the mount: who was bound to what it had before fails, or has it. */
static void lower_changed(struct file *f, struct content *before)
{
	unsigned int i;

	for (i = 0; i < FDS; i++) {
		struct open_file *of = &files[i];

		if (of->fd < 0 || of->file != f)
			continue;
		if (of->loose && !of->chosen)
			may_add(&of->can, f->now);
		if (of->bound_lower && of->can.live)
			may_add(&of->can, before);
		of->changes--;		/* anything that is not what it is now: may be ESTALE */
	}
	for (i = 0; i < MAPS; i++) {
		if (!maps[i].at || maps[i].file != f)
			continue;
		maps[i].may_fail = true;
		if (maps[i].bound_lower && maps[i].can.live)
			may_add(&maps[i].can, before);
	}
}

static bool may_fail(const struct open_file *of, int error)
{
	if (daemon_command && (error == EIO || error == ESTALE || error == ETIMEDOUT))
		return true;
	if (error == ESTALE)
		return of->moved || of->changes != of->path->changes;
	return error == ENOENT && of->moved;
}

/* --- operations */

static struct path *some_path(void)
{
	return &paths[roll(PATHS)];
}

/* Mostly one of the last: the others shall be cached for a while. */
static struct path *path_to_change(void)
{
	return roll(10) ? &paths[PATHS - 1 - roll(PATHS / 2)] : some_path();
}

static struct open_file *free_slot(void)
{
	unsigned int i;

	for (i = 0; i < FDS; i++)
		if (files[i].fd < 0)
			return &files[i];
	return NULL;
}

static struct open_file *some_file(bool writable)
{
	unsigned int i, start = roll(FDS);

	for (i = 0; i < FDS; i++) {
		struct open_file *of = &files[(start + i) % FDS];

		if (of->fd >= 0 && (!writable || of->writable))
			return of;
	}
	return NULL;
}

static struct mapping *some_map(void)
{
	unsigned int i, start = roll(MAPS);

	for (i = 0; i < MAPS; i++)
		if (maps[(start + i) % MAPS].at)
			return &maps[(start + i) % MAPS];
	return NULL;
}

static int slot_of(const struct open_file *of)
{
	return (int)(of - files);
}

static void op_close(struct open_file *of)
{
	time_t since = time(NULL);
	struct file *f = of->file;
	unsigned int i;

	note(" close #%d", slot_of(of));
	close(of->fd);
	of->fd = -1;
	/* Nobody is told what a mapping writes, nor of mprotect(2): its file's close is a write. */
	if (of->mapped)
		file_written(f, since);
	f->writers -= of->writable;
	may_clear(&of->can);
	for (i = 0; i < MAPS; i++)
		if (maps[i].of == of)
			maps[i].of = NULL;
	file_put(f);
}

static void check_size(const struct open_file *of)
{
	const struct path *p = of->path;
	struct stat st;
	unsigned int i;
	bool good;

	if (fstat(of->fd, &st))
		wrong("fstat: %m");
	good = (size_t)st.st_size == of->file->now->size ||
	       (size_t)st.st_size == of->file->before ||
	       (p->store.content && (size_t)st.st_size == p->store.content->size);
	for (i = 0; i < of->can.count; i++)
		good |= (size_t)st.st_size == of->can.may[i]->size;
	for (i = 0; i < HISTORY; i++)
		good |= p->old[i].content && (size_t)st.st_size == p->old[i].content->size;
	/* What is written by way of its old name shows by the new one after the ttl. */
	if (!good && !of->moved && !of->file->renamed_open)
		wrong("fstat: size %lld, which no version has", (long long)st.st_size);
	/* What others do to the lower shows after the ttl, to a writer, too. */
	if (of->writable && (size_t)st.st_size != of->file->now->size &&
	    (size_t)st.st_size != of->file->before && !of->moved &&
	    !of->file->renamed_open)
		wrong("fstat of a writer: size %lld, the lower has %zu", (long long)st.st_size,
		      of->file->now->size);
}

static void op_open(struct path *p, bool write)
{
	static const int flags[] = { 0, 0, 0, O_DIRECT };
	int how = flags[roll(4)] | (write && !roll(3) ? O_APPEND : 0);
	bool trunc = write && !roll(8);
	struct open_file *of = free_slot();
	time_t since = time(NULL);
	double start = now();
	char name[300];
	int fd;

	if (!of) {
		op_close(some_file(false));
		of = free_slot();
	}
	in_target(name, sizeof(name), p);
	how |= write ? O_RDWR : O_RDONLY;
	how |= trunc ? O_TRUNC : 0;
	note(" open %s %s%s%s%s -> #%d", p->name, write ? "rw" : "r", how & O_DIRECT ? " direct" : "",
	     how & O_APPEND ? " append" : "", trunc ? " trunc" : "", slot_of(of));
	fd = open(name, how | O_CLOEXEC);
	if (!p->file) {
		if (fd >= 0 || errno != ENOENT)
			wrong("open of a name that is not there: %s", fd >= 0 ? "works" : strerror(errno));
		return;
	}
	if (fd < 0) {
		if (daemon_command && (errno == EIO || errno == ETIMEDOUT))
			return;
		wrong("open: %m");
	}
	*of = (struct open_file){
		.fd = fd, .path = p, .file = p->file, .changes = p->changes, .writable = write,
		.direct = how & O_DIRECT,
	};
	if (write) {
		p->file->writers++;
		writer_came(p->file);
		of->can.live = true;
	} else {
		choose(p, of, start);
	}
	if (trunc) {
		set_size(p->file, 0);
		file_written(p->file, since);
	}
	if (!roll(3))
		check_size(of);
}

static size_t some_offset(const struct file *f)
{
	size_t size = f->now->size;

	switch (roll(6)) {
	case 0:
		return 0;
	case 1:
		return size > 10 ? size - roll(10) : size;
	case 2:
		return roll((uint32_t)(size / CHUNK) + (roll(20) ? 1 : 4)) * CHUNK % SIZE_MAX_FILE +
		       (roll(2) ? 0 : roll(9));
	case 3:
		return size / PAGE * PAGE;
	default:
		return roll((uint32_t)size + 100);
	}
}

static size_t some_length(void)
{
	switch (roll(8)) {
	case 0:
		return 1 + roll(16);
	case 1:
		return CHUNK + roll(100);
	case 2:
		return SIZE_MAX_FILE + PAGE;
	default:
		return 1 + roll(100 << 10);
	}
}

/* What an upload or a version of another node has become, it stays until somebody writes. */
static void learn(const struct open_file *of)
{
	struct path *p = of->path;

	if (of->can.live || of->can.count != 1 || p->file != of->file || !p->written ||
	    of->can.may[0] != p->store.content || of->changes != p->changes)
		return;
	/* It was opened after the last write, or it would be live. */
	p->written = false;
	uploads_seen++;
}

static void read_failed(struct open_file *of, const char *what, int error)
{
	failed_reads++;
	note(" (%s)", strerror(error));
	if (!may_fail(of, error))
		wrong("%s: %s", what, strerror(error));
	/* Nothing was read; perhaps it was the first try. */
	if (daemon_away)
		of->loose = true;
}

static void op_read(struct open_file *of)
{
	size_t offset = some_offset(of->file), length = some_length();
	ssize_t got;

	if (of->direct) {
		offset &= ~(size_t)(PAGE - 1);
		length = (length + PAGE - 1) & ~(size_t)(PAGE - 1);
	}
	note(" read #%d %zu+%zu", slot_of(of), offset, length);
	got = pread(of->fd, buffer, length, (off_t)offset);
	if (got < 0) {
		read_failed(of, "read", errno);
		return;
	}
	/* Stale and fresh pages may be in one read that fails in the middle. */
	if ((size_t)got < length && got && may_fail(of, ESTALE))
		length = (size_t)got;
	narrow(&of->can, of->file, offset, length, buffer, (size_t)got, "read");
	of->chosen |= got > 0;
	if (got > 0)
		learn(of);
}

static void op_splice(struct open_file *of)
{
	size_t offset = some_offset(of->file), length = some_length(), done = 0;
	static int pipes[2] = { -1, -1 };
	off_t at = (off_t)offset;

	if (pipes[0] < 0 && pipe2(pipes, O_CLOEXEC))
		die("pipe: %m\n");
	if (length > 60000)
		length = 60000;
	note(" splice #%d %zu+%zu", slot_of(of), offset, length);
	while (done < length) {
		ssize_t got = splice(of->fd, &at, pipes[1], NULL, length - done, 0), part, left;

		if (got < 0) {
			read_failed(of, "splice", errno);
			break;
		}
		if (!got)
			break;
		for (left = got; left > 0; left -= part) {
			part = read(pipes[0], buffer + done, (size_t)left);
			if (part <= 0)
				die("pipe: %m\n");
			done += (size_t)part;
		}
	}
	if (!done)
		return;
	/* It need not be all that was asked for, but of one version. */
	narrow(&of->can, of->file, offset, done, buffer, done, "splice");
	of->chosen = true;
	learn(of);
}

static void op_seek_end(struct open_file *of)
{
	off_t end = lseek(of->fd, 0, SEEK_END);
	unsigned int i;
	bool good = of->can.live && (size_t)end == of->file->now->size;

	note(" seek_end #%d", slot_of(of));
	if (end < 0) {
		read_failed(of, "lseek", errno);
		return;
	}
	for (i = 0; i < of->can.count; i++)
		good |= (size_t)end == of->can.may[i]->size;
	if (!good)
		wrong("lseek: end at %lld, which no version has", (long long)end);
}

static sigjmp_buf bus;

static void on_bus(int number)
{
	(void)number;
	siglongjmp(bus, 1);
}

/* Return: false on SIGBUS. A function of its own, whose variables need not survive. */
static __attribute__((noinline)) bool copy_out(uint8_t *to, const uint8_t *from, size_t length)
{
	if (sigsetjmp(bus, 1))
		return false;
	memcpy(to, from, length);
	return true;
}

/* What all that it may be have in common: beyond it is SIGBUS. */
static size_t mapped_size(const struct mapping *m)
{
	size_t size = m->can.live ? m->file->now->size : SIZE_MAX;
	unsigned int i;

	for (i = 0; i < m->can.count; i++)
		if (m->can.may[i]->size < size)
			size = m->can.may[i]->size;
	return size;
}

static void op_map_check(struct mapping *m)
{
	size_t size = mapped_size(m), end = m->offset + m->length, from, length;

	note(" look at map %d", (int)(m - maps));
	if (size <= m->offset)
		return;
	if (size < end)
		end = size;
	from = m->offset + roll((uint32_t)(end - m->offset));
	length = 1 + roll((uint32_t)(end - from));
	note(" %zu+%zu", from, length);
	if (!copy_out(buffer, m->at + (from - m->offset), length)) {
		failed_reads++;
		note(" (SIGBUS)");
		if (!m->may_fail && !daemon_command && m->changes == m->path->changes)
			wrong("SIGBUS in a mapping of %s: %u versions%s%s, of the store%s%s",
			      m->path->name, m->can.count, m->can.live ? " or the lower's" : "",
			      of_store(m) ? " which it has" : " which it has not",
			      m->path->written ? ", written" : "",
			      m->path->store.content ? "" : ", which has none");
		return;
	}
	narrow(&m->can, m->file, from, length, buffer, length, "mapping");
	/* Nothing of anybody's behind the end, if it is known by now whose end that is. */
	if (m->can.live || m->can.count != 1 || m->can.may[0]->size != size || end != size ||
	    !(size % PAGE))
		return;
	if (!copy_out(scratch, m->at + (size - m->offset), PAGE - size % PAGE))
		return;
	for (length = 0; length < PAGE - size % PAGE; length++)
		if (scratch[length])
			wrong("the mapping has something behind the end of the file");
}

static void op_unmap(struct mapping *m)
{
	struct file *f = m->file;

	note(" unmap %d", (int)(m - maps));
	munmap(m->at, (m->length + PAGE - 1) & ~(size_t)(PAGE - 1));
	m->at = NULL;
	f->writers -= m->writer;
	may_clear(&m->can);
	file_put(f);
}

static void op_map(struct open_file *of)
{
	struct mapping *m = NULL;
	bool write = of->writable && roll(2), shared;
	time_t since = time(NULL);
	size_t size = of->file->now->size;
	unsigned int i;

	for (i = 0; i < MAPS; i++)
		if (!maps[i].at)
			m = &maps[i];
	if (!m) {
		op_unmap(some_map());
		return;
	}
	if (!size)
		return;
	*m = (struct mapping){ .of = of, .path = of->path, .file = of->file, .writable = write,
			       .changes = of->changes, .may_fail = of->moved,
			       .bound_lower = of->bound_lower, .same = of->same };
	m->offset = roll((uint32_t)size) & ~(size_t)(PAGE - 1);
	m->length = 1 + roll(MAP_MAX);
	note(" map%s #%d %zu+%zu -> %d", write ? " rw" : "", slot_of(of), m->offset, m->length,
	     (int)(m - maps));
	shared = roll(3) || write;
	m->at = mmap(NULL, m->length, PROT_READ | (write ? PROT_WRITE : 0),
		     shared ? MAP_SHARED : MAP_PRIVATE, of->fd, (off_t)m->offset);
	if (m->at == MAP_FAILED) {
		m->at = NULL;
		read_failed(of, "mmap", errno);
		return;
	}
	may_copy(&m->can, &of->can);
	/* The kernel may merge it with one from before. */
	for (i = 0; i < MAPS; i++)
		if (maps[i].at && &maps[i] != m && maps[i].of == of)
			may_copy(&m->can, &maps[i].can);
	of->chosen = true;
	if (!of->writable)
		return;
	/* It is the lower's, by a file that is open for writing as long as it is there. */
	m->writer = true;
	of->file->writers++;
	if (shared) {
		of->mapped = true;
		file_written(of->file, since);
	}
}

static void op_map_write(struct mapping *m)
{
	size_t size = m->file->now->size, end = m->offset + m->length, from, length;
	time_t since = time(NULL);
	struct content *c;

	if (!m->writable || size <= m->offset)
		return;
	if (size < end)
		end = size;
	from = m->offset + roll((uint32_t)(end - m->offset));
	length = 1 + roll((uint32_t)(end - from));
	note(" write into map %d %zu+%zu", (int)(m - maps), from, length);
	c = own(m->file, size);
	randomize(c->bytes + from, length);
	memcpy(m->at + (from - m->offset), c->bytes + from, length);
	/* So that the lower's mtime tells of it. */
	if (msync(m->at, (m->length + PAGE - 1) & ~(size_t)(PAGE - 1), MS_SYNC))
		wrong("msync: %m");
	file_written(m->file, since);
}

static void op_write(struct open_file *of)
{
	bool append = fcntl(of->fd, F_GETFL) & O_APPEND;
	size_t length = some_length() % (200 << 10) + 1;
	size_t offset = append ? of->file->now->size : some_offset(of->file);
	time_t since = time(NULL);
	struct content *c;
	ssize_t put;

	if (offset + length > SIZE_MAX_FILE)
		return;
	note(" write #%d %zu+%zu%s", slot_of(of), offset, length, append ? " append" : "");
	randomize(scratch, length);
	put = pwrite(of->fd, scratch, length, (off_t)offset);
	if (put < 0 || (size_t)put != length)
		wrong("write: %zd: %m", put);
	if (offset + length > of->file->now->size)
		set_size(of->file, offset + length);
	c = own(of->file, offset + length);
	memcpy(c->bytes + offset, scratch, length);
	file_written(of->file, since);
}

static void op_truncate(struct open_file *of)
{
	size_t size = some_size();
	time_t since = time(NULL);

	note(" truncate #%d %zu", slot_of(of), size);
	if (ftruncate(of->fd, (off_t)size))
		wrong("ftruncate: %m");
	set_size(of->file, size);
	file_written(of->file, since);
}

static void op_truncate_path(struct path *p)
{
	size_t size = some_size();
	time_t since = time(NULL);
	char name[300];

	in_target(name, sizeof(name), p);
	note(" truncate %s %zu", p->name, size);
	if (truncate(name, (off_t)size)) {
		if (!p->file && errno == ENOENT)
			return;
		wrong("truncate: %m");
	}
	if (!p->file)
		wrong("truncate of a name that is not there");
	set_size(p->file, size);
	writer_came(p->file);
	file_written(p->file, since);
}

static void op_create(struct path *p)
{
	size_t length = some_size();
	time_t since = time(NULL);
	char name[300];
	int fd;

	in_target(name, sizeof(name), p);
	note(" create %s %zu", p->name, length);
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (p->file) {
		if (fd >= 0 || errno != EEXIST)
			wrong("O_EXCL of a name that is there: %d %m", fd);
		return;
	}
	if (fd < 0)
		wrong("create: %m");
	p->file = calloc(1, sizeof(*p->file));
	if (!p->file)
		die("out of memory\n");
	p->file->now = content_new(length);
	randomize(p->file->now->bytes, length);
	if (write(fd, p->file->now->bytes, length) != (ssize_t)length)
		wrong("write: %m");
	if (close(fd))
		wrong("close: %m");
	file_written(p->file, since);
}

static void name_gone(struct path *p)
{
	struct file *f = p->file;

	p->file = NULL;
	f->removed = true;
	moved_away(f, true);
	file_put(f);
}

static void op_unlink(struct path *p)
{
	char name[300];

	in_target(name, sizeof(name), p);
	note(" unlink %s", p->name);
	if (unlink(name)) {
		if (p->file || errno != ENOENT)
			wrong("unlink: %m");
		return;
	}
	if (!p->file)
		wrong("unlink of a name that is not there");
	name_gone(p);
}

static void op_rename(struct path *from, struct path *to)
{
	time_t since = time(NULL);
	char a[300], b[300];

	if (from == to)
		return;
	in_target(a, sizeof(a), from);
	in_target(b, sizeof(b), to);
	note(" rename %s %s", from->name, to->name);
	if (rename(a, b)) {
		if (from->file || errno != ENOENT)
			wrong("rename: %m");
		return;
	}
	if (!from->file)
		wrong("rename of a name that is not there");
	if (to->file)
		name_gone(to);
	to->file = from->file;
	from->file = NULL;
	to->file->renamed_open |= to->file->writers > 0;
	moved_away(to->file, false);
	file_written(to->file, since);
}

/* By another name first: nobody sees half of it. Return: its time. */
static time_t put_in_store(const struct path *p, const struct content *c)
{
	char temporary[300], name[300];
	struct stat st;
	int fd;

	snprintf(temporary, sizeof(temporary), "%s/.new", store);
	snprintf(name, sizeof(name), "%s/%s", store, p->name);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, c->bytes, c->size) != (ssize_t)c->size || fstat(fd, &st) ||
	    close(fd) || rename(temporary, name))
		die("store: %m\n");
	return st.st_mtime;
}

static void op_upload(struct path *p)
{
	char name[300];

	if (!p->file) {
		note(" store: drop %s", p->name);
		snprintf(name, sizeof(name), "%s/%s", store, p->name);
		unlink(name);
		store_set(p, NULL, 0);
		return;
	}
	note(" store: upload %s", p->name);
	store_set(p, p->file->now, put_in_store(p, p->file->now));
}

static void op_remote(struct path *p)
{
	struct content *c;
	size_t size = roll(2) && p->file ? p->file->now->size : some_size();

	if (!p->file)
		return;
	note(" store: new version of %s, %zu", p->name, size);
	c = content_new(size);
	randomize(c->bytes, size);
	store_set(p, c, put_in_store(p, c));
	content_put(c);
}

/* The lower comes to show what the store has, past the mount. */
static void op_catch_up(struct path *p)
{
	time_t since = time(NULL);
	char name[300];
	struct content *c = p->store.content, *before;
	int fd;

	if (!p->file || !c || p->file->writers)
		return;
	note(" lower: %s as in the store", p->name);
	in_lower(name, sizeof(name), p);
	fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, c->bytes, c->size) != (ssize_t)c->size || close(fd))
		die("lower: %m\n");
	before = p->file->now;
	p->file->before = before->size;
	p->file->now = content_get(c);
	p->caught_up = now();
	if (p->written)
		p->written_at = since;
	lower_changed(p->file, before);
	content_put(before);
}

static void op_drop_caches(void)
{
	static const char *const what[] = { "1", "2", "3" };
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	const char *text = what[roll(3)];

	note(" drop_caches %s", text);
	if (fd < 0 || write(fd, text, 1) != 1)
		die("drop_caches: %m\n");
	close(fd);
}

static void op_advise(struct open_file *of)
{
	static const int advice[] = { POSIX_FADV_DONTNEED, POSIX_FADV_DONTNEED, POSIX_FADV_WILLNEED,
				      POSIX_FADV_RANDOM, POSIX_FADV_SEQUENTIAL };
	int which = advice[roll(5)];

	note(" fadvise #%d %d", slot_of(of), which);
	posix_fadvise(of->fd, 0, 0, which);
}

static void op_engine(struct open_file *of)
{
	static const uint8_t cmd[] = { BC_CMD_EVICT, BC_CMD_EVICT, BC_CMD_PREFETCH, BC_CMD_DEMOTE,
				       BC_CMD_PIN_ADD, BC_CMD_PIN_REMOVE, BC_CMD_PIN_REMOVE };
	uint8_t which = cmd[roll(sizeof(cmd))];

	note(" netlink %u #%d", which, slot_of(of));
	ask_fd(which, of->fd);
}

static void op_tier(void)
{
	int error;

	if (!device)
		return;
	note(" detach and attach the tier");
	error = ask_device(BC_CMD_TIER_DETACH);
	if (error)
		wrong("detach: %s", strerror(-error));
	error = ask_device(BC_CMD_TIER_ATTACH);
	if (error)
		wrong("attach: %s", strerror(-error));
}

static void op_readdir(void)
{
	DIR *dir = opendir(target);
	unsigned int i, seen = 0, there = 0;
	struct dirent *entry;

	note(" readdir");
	if (!dir)
		wrong("opendir: %m");
	while ((entry = readdir(dir)))
		for (i = 0; i < PATHS; i++)
			if (!strcmp(entry->d_name, paths[i].name))
				seen |= 1U << i;
	closedir(dir);
	for (i = 0; i < PATHS; i++)
		there |= (paths[i].file ? 1U : 0) << i;
	if (seen != there)
		wrong("readdir: names %x, there are %x", seen, there);
}

static void op_fsync(struct open_file *of)
{
	note(" fsync #%d", slot_of(of));
	if (fsync(of->fd) && !may_fail(of, errno))
		wrong("fsync: %m");
}

static void op_daemon(void)
{
	unsigned int i;

	if (!daemon_command)
		return;
	if (daemon_away) {
		note(" the daemon comes");
		if (!daemon_pid)
			start_daemon();
		await_daemon();
		return;
	}
	note(" the daemon dies");
	kill(daemon_pid, SIGKILL);
	waitpid(daemon_pid, NULL, 0);
	daemon_pid = 0;
	daemon_away = true;
	for (i = 0; i < FDS; i++) {
		struct open_file *of = &files[i];

		if (of->fd < 0 || of->chosen || !of->can.count)
			continue;
		of->loose = true;
		may_add(&of->can, of->file->now);
	}
}

/* A byte that nobody wrote, in all places where it may be read from. */
static void spoil(void)
{
	struct path *p = some_path();
	char name[300];
	uint8_t byte;
	int fd, i;

	if (!p->file || !p->file->now->size)
		return;
	note(" SABOTAGE of %s", p->name);
	for (i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s/%s", i ? store : lower, p->name);
		fd = open(name, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (pread(fd, &byte, 1, 0) == 1) {
			byte ^= 1;
			if (pwrite(fd, &byte, 1, 0) != 1)
				die("sabotage: %m\n");
		}
		close(fd);
	}
}

static void step(void)
{
	uint32_t what = roll(1000);
	struct open_file *of = some_file(false), *rw = some_file(true);
	struct mapping *m = some_map();

	shared->history[op_number % LOG][0] = 0;
	if (sabotage && op_number >= sabotage && op_number % 50 == 0)
		spoil();
	else if (daemon_away && !roll(20))
		op_daemon();
	else if (what < 150)
		op_open(some_path(), false);
	else if (what < 190)
		op_open(path_to_change(), true);
	else if (what < 290 && of)
		op_close(rw && roll(3) ? rw : of);
	else if (what < 560 && of)
		op_read(of);
	else if (what < 600 && of)
		op_splice(of);
	else if (what < 620 && of)
		op_seek_end(of);
	else if (what < 650 && of)
		op_map(of);
	else if (what < 720 && m)
		op_map_check(m);
	else if (what < 745 && m)
		op_unmap(m);
	else if (what < 760 && m)
		op_map_write(m);
	else if (what < 810 && rw)
		op_write(rw);
	else if (what < 820 && rw)
		op_truncate(rw);
	else if (what < 825)
		op_truncate_path(path_to_change());
	else if (what < 845)
		op_create(some_path());
	else if (what < 853)
		op_unlink(path_to_change());
	else if (what < 861)
		op_rename(path_to_change(), path_to_change());
	else if (what < 885)
		op_upload(some_path());
	else if (what < 900)
		op_remote(some_path());
	else if (what < 905)
		op_catch_up(some_path());
	else if (what < 908)
		op_drop_caches();
	else if (what < 930 && of)
		op_advise(of);
	else if (what < 955 && of)
		op_engine(of);
	else if (what < 970 && of)
		check_size(of);
	else if (what < 976)
		op_readdir();
	else if (what < 985 && rw)
		op_fsync(rw);
	else if (what < 988)
		op_daemon();
	else if (what < 989)
		op_tier();
}

/* Where the time goes, by the first word that is noted of an operation. */
#define KINDS	48

static struct spent {
	char kind[12];
	uint64_t count;
	double seconds;
} spent[KINDS];

static void account(const char *noted, double took)
{
	char kind[sizeof(spent->kind)] = "nothing";
	unsigned int i;

	sscanf(noted, " %11[a-z]", kind);
	for (i = 0; i < KINDS - 1 && spent[i].kind[0] && strcmp(spent[i].kind, kind); i++)
		;
	strcpy(spent[i].kind, kind);
	spent[i].count++;
	spent[i].seconds += took;
}

static int by_seconds(const void *a, const void *b)
{
	double difference = ((const struct spent *)b)->seconds - ((const struct spent *)a)->seconds;

	return difference > 0 ? 1 : difference < 0 ? -1 : 0;
}

static void print_spent(void)
{
	unsigned int i;

	qsort(spent, KINDS, sizeof(*spent), by_seconds);
	printf("spent:");
	for (i = 0; i < 12 && spent[i].count; i++)
		printf(" %s %.1f s (%llu, %.2f ms each)", spent[i].kind, spent[i].seconds,
		       (unsigned long long)spent[i].count,
		       spent[i].seconds * 1000 / spent[i].count);
	printf("\n");
}

static const char *argument(int argc, char **argv, const char *name)
{
	int i;

	for (i = 1; i + 1 < argc; i += 2)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return NULL;
}

static uint64_t number(int argc, char **argv, const char *name, uint64_t otherwise)
{
	const char *text = argument(argc, argv, name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

static void close_all(void)
{
	unsigned int i;

	for (i = 0; i < MAPS; i++)
		if (maps[i].at)
			op_unmap(&maps[i]);
	for (i = 0; i < FDS; i++)
		if (files[i].fd >= 0)
			op_close(&files[i]);
}

/* Of an earlier run. */
static void remove_leftovers(const struct path *p)
{
	char name[300];

	in_target(name, sizeof(name), p);
	unlink(name);
	snprintf(name, sizeof(name), "%s/%s", store, p->name);
	unlink(name);
}

int main(int argc, char **argv)
{
	double start, progress = 0, begun;
	unsigned int i;

	target = argument(argc, argv, "--target");
	lower = argument(argc, argv, "--lower");
	store = argument(argc, argv, "--store");
	device = argument(argc, argv, "--device");
	if (!target || !lower || !store)
		die("--target, --lower and --store are needed\n");
	seed = number(argc, argv, "--seed", seed);
	max_ops = number(argc, argv, "--ops", max_ops);
	seconds = (unsigned int)number(argc, argv, "--seconds", seconds);
	ttl_ms = (unsigned int)number(argc, argv, "--ttl", 0);
	sabotage = number(argc, argv, "--sabotage", 0);
	if (argument(argc, argv, "--daemon") &&
	    asprintf(&daemon_command, "exec %s", argument(argc, argv, "--daemon")) < 0)
		die("out of memory\n");
	rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	if (posix_memalign((void **)&buffer, PAGE, SIZE_MAX_FILE + 2 * CHUNK) ||
	    posix_memalign((void **)&scratch, PAGE, SIZE_MAX_FILE + 2 * CHUNK))
		die("out of memory\n");
	signal(SIGBUS, on_bus);
	start_watch();
	open_netlink();
	for (i = 0; i < FDS; i++)
		files[i].fd = -1;
	for (i = 0; i < PATHS; i++)
		snprintf(paths[i].name, sizeof(paths[i].name), "file%u", i);
	if (daemon_command) {
		start_daemon();
		await_daemon();
	}

	for (i = 0; i < PATHS; i++) {
		remove_leftovers(&paths[i]);
		op_create(&paths[i]);
		op_upload(&paths[i]);
	}
	shared->history[0][0] = 0;
	start = now();
	for (op_number = 0; op_number < max_ops && now() - start < seconds; op_number++) {
		begun = now();
		step();
		account(shared->history[op_number % LOG], now() - begun);
		if (now() - start > progress + 30) {
			progress = now() - start;
			printf("  %llu operations in %.0f s\n", (unsigned long long)op_number,
			       progress);
			fflush(stdout);
		}
	}
	close_all();
	printf("seed %llu: %llu operations in %.1f s; %llu MiB read and right, %llu reads failed as they may, %llu of %llu opens with one candidate, %llu uploads seen\n",
	       (unsigned long long)seed, (unsigned long long)op_number, now() - start,
	       (unsigned long long)(read_bytes >> 20), (unsigned long long)failed_reads,
	       (unsigned long long)strong_opens, (unsigned long long)opens,
	       (unsigned long long)uploads_seen);
	print_spent();
	fflush(stdout);
	if (daemon_pid) {
		kill(daemon_pid, SIGTERM);
		waitpid(daemon_pid, NULL, 0);
	}
	return 0;
}
