/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The XML of Azure's Get Block List and Put Block List. Pure but for expat. */
#ifndef BC_BLOCK_LIST_H
#define BC_BLOCK_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "store/store.h"
#include "store/text.h"

struct bc_block_parser;

struct bc_block_parser *bc_block_parser_create(struct bc_block_list *list);
bool bc_block_parser_parse(struct bc_block_parser *parser, const void *bytes, size_t length,
			   bool last);
void bc_block_parser_free(struct bc_block_parser *parser);

void bc_block_list_write(struct bc_text *text, struct bc_commit *commit);

#endif /* BC_BLOCK_LIST_H */
