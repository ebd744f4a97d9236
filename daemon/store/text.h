/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings that grow, for URLs and what is signed. */
#ifndef BC_TEXT_H
#define BC_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed at first. After a failed allocation everything is a no-op. */
struct bc_text {
	char *bytes;
	size_t length;
	size_t room;
	bool failed;
};

void bc_text_add(struct bc_text *text, const char *bytes, size_t length);
void bc_text_put(struct bc_text *text, const char *string);
void bc_text_encode(struct bc_text *text, const char *string, const char *keep);
char *bc_text_take(struct bc_text *text);
size_t bc_percent_decode(char *text, size_t length);

#endif /* BC_TEXT_H */
