/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BC_SECRET_H
#define BC_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that never appear in a message and are wiped before they are freed. */
struct bc_secret {
	char *bytes;			/* zero terminated for convenience */
	size_t length;
};

#define BC_FILE_MAX	(1U << 20)

bool bc_secret_read(struct bc_secret *secret, const char *path, char *text, size_t size);
void bc_secret_warn(const char *path);
bool bc_secret_copy(struct bc_secret *secret, const char *bytes, size_t length);
void bc_secret_trim(struct bc_secret *secret);
bool bc_secret_decode(struct bc_secret *secret);
void bc_secret_free(struct bc_secret *secret);

#endif /* BC_SECRET_H */
