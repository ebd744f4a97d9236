// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

/* Set before any thread starts, constant afterwards. */
static bool to_stderr = true;
static bool to_journal;
static enum bc_level threshold = BC_NOTE;

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

/* JOURNAL_STREAM is inherited even by those whose standard error is elsewhere. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st))
		return false;
	snprintf(own, sizeof(own), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return !strcmp(own, stream);
}

/**
 * bc_log_open - choose where messages go
 * @stderr_: to standard error; else to syslog
 * @level: least severe level that is told
 */
void bc_log_open(bool stderr_, enum bc_level level)
{
	to_stderr = stderr_;
	to_journal = stderr_ && is_journal();
	threshold = level;
	if (!stderr_)
		openlog("blobcached", LOG_PID, LOG_DAEMON);
}

/**
 * bc_log_enabled - whether a level is told, to spare the making of its text
 * @level: the level
 */
bool bc_log_enabled(enum bc_level level)
{
	return level <= threshold;
}

static void log_line(enum bc_level level, const char *text)
{
	char stamp[32] = "";
	struct timespec now;
	struct tm tm;

	if (!to_stderr) {
		syslog((int)level, "%s", text);
		return;
	}
	if (to_journal) {
		fprintf(stderr, "<%d>%s\n", (int)level, text);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03ld blobcached: %s%s\n", stamp,
		now.tv_nsec / 1000000,
		level == BC_ERROR ? "error: " : level == BC_WARN ? "warning: " : "",
		text);
}

static void log_format(enum bc_level level, const char *format, va_list args)
{
	char text[2048];

	vsnprintf(text, sizeof(text), format, args);
	log_line(level, text);
}

/**
 * bc_log - tell one line
 * @level: how grave it is
 * @format: printf format, without newline
 */
void bc_log(enum bc_level level, const char *format, ...)
{
	va_list args;

	if (!bc_log_enabled(level))
		return;
	va_start(args, format);
	log_format(level, format, args);
	va_end(args);
}

static bool limit_pass(struct bc_limit *limit, unsigned int *held)
{
	int64_t now = bc_now_ms();
	bool pass;

	*held = 0;
	pthread_mutex_lock(&limit_lock);
	if (!limit->sent || now - limit->since_ms >= BC_LIMIT_MS) {
		*held = limit->held;
		*limit = (struct bc_limit){ .since_ms = now };
	}
	pass = limit->sent < BC_LIMIT_SENT;
	if (pass)
		limit->sent++;
	else
		limit->held++;
	pthread_mutex_unlock(&limit_lock);
	return pass;
}

/**
 * bc_log_limited - tell one line unless its site told many lately
 * @limit: state of the site; zeroed at first
 * @level: how grave it is
 * @format: printf format, without newline
 *
 * What was held back is counted and told with the next line that passes.
 */
void bc_log_limited(struct bc_limit *limit, enum bc_level level,
		    const char *format, ...)
{
	unsigned int held;
	va_list args;

	if (!bc_log_enabled(level) || !limit_pass(limit, &held))
		return;
	if (held)
		bc_log(level, "(%u messages like the next one were held back)", held);
	va_start(args, format);
	log_format(level, format, args);
	va_end(args);
}

/**
 * bc_escape - make a name from outside safe for a log line
 * @to: buffer
 * @size: of the buffer, at least 1
 * @text: the name
 *
 * Control characters and backslashes become \xNN; what does not fit is cut.
 * Returns @to.
 */
const char *bc_escape(char *to, size_t size, const char *text)
{
	size_t at = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = c >= 0x20 && c != 0x7f && c != '\\';

		if (at + (plain ? 1 : 4) >= size)
			break;
		if (plain)
			to[at++] = (char)c;
		else
			at += (size_t)sprintf(to + at, "\\x%02x", c);
	}
	to[at] = 0;
	return to;
}
