/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_LOG_H
#define BC_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bc_level {
	BC_ERROR	= 3,	/* numbers of syslog(3) */
	BC_WARN		= 4,
	BC_NOTE		= 5,
	BC_DEBUG	= 7,
};

/* A message site that floods: see bc_log_limited(). */
struct bc_limit {
	int64_t since_ms;
	unsigned int sent;
	unsigned int held;
};

#define BC_LIMIT_SENT	10
#define BC_LIMIT_MS	10000

void bc_log_open(bool to_stderr, enum bc_level level);
bool bc_log_enabled(enum bc_level level);
void bc_log(enum bc_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void bc_log_limited(struct bc_limit *limit, enum bc_level level,
		    const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define bc_error(...)	bc_log(BC_ERROR, __VA_ARGS__)
#define bc_warn(...)	bc_log(BC_WARN, __VA_ARGS__)
#define bc_note(...)	bc_log(BC_NOTE, __VA_ARGS__)
#define bc_debug(...)	bc_log(BC_DEBUG, __VA_ARGS__)

#define bc_warn_limited(...)						\
	do {								\
		static struct bc_limit limit_;				\
		bc_log_limited(&limit_, BC_WARN, __VA_ARGS__);		\
	} while (0)

const char *bc_escape(char *to, size_t size, const char *text);

#endif /* BC_LOG_H */
