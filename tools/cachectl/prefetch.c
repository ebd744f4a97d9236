// SPDX-License-Identifier: GPL-2.0-or-later
/* cachectl prefetch: fetch before it is read. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cachectl.h"
#include "filecmd.h"
#include "format.h"
#include "netlink.h"
#include "output.h"
#include "prefetch.h"
#include "progress.h"

#define WINDOW		64	/* files looked at in one round */
#define ROUND_MS	200
#define AGAIN_MS	1000	/* before a file nobody fetches is asked for again */
#define STALL_MS	60000	/* without a single byte: give up waiting */

enum {
	OPT_WAIT = CTL_OPT_OWN,
};

/* One file being waited for. */
struct wanted {
	char *path;
	int fd;			/* -1 = not looked at yet */
	uint64_t size, resident;
	uint64_t asked_at;
};

struct prefetch {
	struct bcnl *nl;
	bool keep;		/* remember files, to wait for them */
	struct wanted *wanted;
	size_t count, room;
	size_t next;		/* first file not yet in the window or done */
	uint64_t total, resident, failed;
};

static atomic_int interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void catch_interrupt(void)
{
	struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static int remember(struct prefetch *work, const char *path, uint64_t size, uint64_t resident)
{
	struct wanted *grown;

	if (work->count == work->room) {
		work->room = work->room ? work->room * 2 : 256;
		grown = realloc(work->wanted, work->room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		work->wanted = grown;
	}
	work->wanted[work->count] = (struct wanted){
		.path = strdup(path), .fd = -1, .size = size, .resident = resident,
		.asked_at = progress_clock(),
	};
	if (!work->wanted[work->count].path)
		return -ENOMEM;
	work->count++;
	return 0;
}

/* What the kernel says of a file; before it is resolved, the size that stat showed has to do. */
static void take_answer(const json_t *answer, uint64_t *size, uint64_t *resident)
{
	if (filecmd_bound(answer))
		*size = out_num(answer, "size");
	*resident = out_num(answer, "resident_bytes");
	if (*resident > *size)
		*resident = *size;
}

static int queue_one(const char *path, int fd, uint64_t size, void *arg)
{
	struct prefetch *work = arg;
	uint64_t resident = 0;
	json_t *answer = NULL;

	if (interrupted || filecmd_send(work->nl, BC_CMD_PREFETCH, path, fd, &answer))
		return -1;
	if (answer)
		take_answer(answer, &size, &resident);
	json_decref(answer);
	work->total += size;
	work->resident += resident;
	return work->keep && resident < size ? remember(work, path, size, resident) : 0;
}

/* --- waiting --- */

static void leave(struct wanted *file)
{
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	file->fd = -1;
	file->path = NULL;
}

static void give_up(struct prefetch *work, struct wanted *file)
{
	work->failed++;
	leave(file);
}

static int ask(struct prefetch *work, struct wanted *file, enum bc_cmd command, json_t **answer)
{
	if (file->fd < 0)
		file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file->fd < 0) {
		if (walk_quota())
			ctl_fail("%s %s: %s", ctl.path, file->path, strerror(errno));
		return -errno;
	}
	return filecmd_send(work->nl, command, file->path, file->fd, answer);
}

/* The kernel drops prefetches when it has better to do. */
static int ask_again(struct prefetch *work, struct wanted *file)
{
	uint64_t now = progress_clock();
	json_t *answer = NULL;
	int rc;

	if (now - file->asked_at < AGAIN_MS)
		return 0;
	file->asked_at = now;
	rc = ask(work, file, BC_CMD_PREFETCH, &answer);
	json_decref(answer);
	return rc;
}

/* One look at one file. Return: whether it is done with, well or not. */
static bool look(struct prefetch *work, struct wanted *file)
{
	uint64_t size = file->size, resident = 0;
	json_t *answer = NULL;
	bool pending;

	if (ask(work, file, BC_CMD_RESIDENCY, &answer)) {
		give_up(work, file);
		return true;
	}
	take_answer(answer, &size, &resident);
	pending = out_num(answer, "pending_bytes");
	json_decref(answer);
	work->total += size - file->size;
	work->resident += resident - file->resident;
	file->size = size;
	file->resident = resident;
	if (resident >= size) {
		leave(file);
		return true;
	}
	if (!pending && ask_again(work, file)) {
		give_up(work, file);
		return true;
	}
	return false;
}

/* Look at the files in the window; refill it. Return: how many are left in it. */
static size_t look_round(struct prefetch *work, struct wanted **window, size_t count)
{
	size_t i, kept = 0;

	for (i = 0; i < count && !interrupted; i++)
		if (!look(work, window[i]))
			window[kept++] = window[i];
	while (kept < WINDOW && work->next < work->count && !interrupted) {
		window[kept] = &work->wanted[work->next++];
		if (!look(work, window[kept]))
			kept++;
	}
	return kept;
}

static int stalled(const struct prefetch *work)
{
	char have[FMT_SIZE], all[FMT_SIZE];

	return ctl_fail("%s: nothing arrived for %d s: %s of %s are on the tier; 'cachectl status' "
			"tells whether the daemon lives and the tier has room", ctl.path,
			STALL_MS / 1000, fmt_bytes(have, work->resident),
			fmt_bytes(all, work->total));
}

static int detached(const struct prefetch *work)
{
	char have[FMT_SIZE], all[FMT_SIZE];

	return ctl_fail("%s: detached at %s of %s; the kernel goes on with what it has queued, "
			"'cachectl residency' shows how far it is", ctl.path,
			fmt_bytes(have, work->resident), fmt_bytes(all, work->total));
}

static int wait_all(struct prefetch *work)
{
	const struct timespec pause = { 0, ROUND_MS * 1000000L };
	struct wanted *window[WINDOW];
	uint64_t best = work->resident, moved_at = progress_clock();
	struct progress progress;
	size_t left = 0;
	int rc = CTL_OK;

	progress_begin(&progress, work->total, work->resident);
	while (!interrupted && (left = look_round(work, window, left))) {
		progress.total = work->total;
		progress_update(&progress, work->resident);
		if (work->resident > best) {
			best = work->resident;
			moved_at = progress_clock();
		}
		if (progress_clock() - moved_at > STALL_MS) {
			rc = CTL_FAILED;
			break;
		}
		nanosleep(&pause, NULL);
	}
	progress_end(&progress);
	if (interrupted)
		return detached(work);
	if (rc)
		return stalled(work);
	return work->failed ? CTL_FAILED : CTL_OK;
}

/* --- command --- */

static int report(const struct prefetch *work, const struct walk *walk, bool waited, uint64_t ms)
{
	char files[FMT_SIZE], bytes[FMT_SIZE], time[FMT_SIZE], rate[FMT_SIZE], here[FMT_SIZE];
	json_t *answer;

	if (ctl.json) {
		answer = filecmd_schema();
		json_object_set_new(answer, "files", json_integer((json_int_t)walk->files));
		json_object_set_new(answer, "failed",
				    json_integer((json_int_t)(walk->failed + work->failed)));
		json_object_set_new(answer, "size", json_integer((json_int_t)work->total));
		json_object_set_new(answer, "resident_bytes",
				    json_integer((json_int_t)work->resident));
		json_object_set_new(answer, "waited", json_boolean(waited));
		json_object_set_new(answer, "ms", json_integer((json_int_t)ms));
		return out_json(stdout, answer, 0);
	}
	printf("%s %s file%s, %s", waited ? "prefetched" : "asked for",
	       fmt_count(files, walk->files), walk->files == 1 ? "" : "s",
	       fmt_bytes(bytes, work->total));
	if (waited)
		printf(" in %s (%s/s)\n", fmt_ms(time, ms),
		       fmt_bytes(rate, work->total * 1000 / (ms ? ms : 1)));
	else
		printf(" (%s here already); --wait waits, 'cachectl residency' shows how far "
		       "it is\n", fmt_bytes(here, work->resident));
	return CTL_OK;
}

static void forget(struct prefetch *work)
{
	size_t i;

	for (i = 0; i < work->count; i++)
		leave(&work->wanted[i]);
	free(work->wanted);
}

static int prefetch(struct prefetch *work, char *const *paths, bool recursive)
{
	uint64_t begun = progress_clock();
	int rc, waited = CTL_OK, shown;
	struct walk walk;

	rc = walk_files(paths, recursive, queue_one, work, &walk);
	if (rc && !walk.files)
		return interrupted ? detached(work) : rc;
	if (work->keep)
		waited = wait_all(work);
	shown = waited && !work->failed ? CTL_OK :
		report(work, &walk, work->keep && !waited, progress_clock() - begun);
	if (waited)
		return waited;
	return rc ? rc : shown;
}

int prefetch_path(struct bcnl *nl, const char *path)
{
	struct prefetch work = { .nl = nl, .keep = true };
	char *const paths[] = { (char *)path, NULL };
	struct walk walk;
	int rc;

	catch_interrupt();
	rc = walk_files(paths, false, queue_one, &work, &walk);
	if (!rc)
		rc = wait_all(&work);
	forget(&work);
	return rc;
}

static int run_prefetch(const struct command *cmd, int argc, char **argv)
{
	struct prefetch work = { 0 };
	bool recursive = false;
	int opt, rc;

	while ((opt = ctl_getopt(cmd, argc, argv)) != -1) {
		if (opt == OPT_WAIT)
			work.keep = true;
		else
			recursive = true;
	}
	if (optind == argc)
		return ctl_usage("%s: give at least one path", ctl.path);
	rc = bcnl_open(&work.nl);
	if (rc)
		return rc;
	if (work.keep)
		catch_interrupt();
	rc = prefetch(&work, argv + optind, recursive);
	forget(&work);
	bcnl_close(work.nl);
	return rc;
}

static const struct option options[] = {
	{ "recursive", no_argument, NULL, 'r' },
	{ "wait", no_argument, NULL, OPT_WAIT },
	{ 0 }
};

const struct command cmd_prefetch = {
	.name = "prefetch",
	.summary = "fetch files to the tier before they are read",
	.usage = "[-r] [--wait] PATH ...",
	.options = options,
	.run = run_prefetch,
	.arg = CTL_ARG_PATH,
	.help =
"\n"
"Asks the kernel to fetch what is missing and returns. With --wait it stays until all\n"
"is on the tier, with a progress bar on a terminal and a line every 10 s elsewhere; ^C\n"
"then ends the waiting, not the fetching.\n"
"\n"
"Options\n"
"  -r, --recursive  all files below directories\n"
"      --wait       until everything is here\n"
"\n"
"Examples\n"
"  cachectl prefetch -r --wait /mnt/weights/llama\n"
"  cachectl prefetch /mnt/data/shard-0*.tar\n",
};
